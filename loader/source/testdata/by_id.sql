select "id", "exported_at", "occurred_at", "kind"::text, "user_id"::text, "anonymous_id"::text, "tutorial_id"::text, "segment_id"::text, "portal_id"::text, "version_id"::text, "event_name"::text
from "public"."candu_interactions"
where "id" = any ($1::text[]::bigint[])
