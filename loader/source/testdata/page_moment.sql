select "id", "exported_at", "occurred_at", "kind", "user_id", "anonymous_id", "tutorial_id", "segment_id", "portal_id", "version_id", "event_name"
from "public"."candu_interactions" as e
where "exported_at" >= $1::timestamptz
order by e."exported_at", e."id"
limit $2
