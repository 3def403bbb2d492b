select "id", "exported_at", "occurred_at", "kind", "user_id"::text, "anonymous_id", "tutorial_id", "segment_id", "portal_id", "version_id", "event_name"
from "public"."candu_interactions"
where "exported_at" >= $1::timestamptz
order by "exported_at", "id"
limit $2
