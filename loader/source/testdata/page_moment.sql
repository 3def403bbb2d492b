select "id", "exported_at", "occurred_at", "kind"::text, "user_id"::text, "anonymous_id"::text, "tutorial_id"::text, "segment_id"::text, "portal_id"::text, "version_id"::text, "event_name"::text
from "public"."candu_interactions" as e
where "exported_at" >= $1::timestamptz
order by e."exported_at", e."id"
limit $2
