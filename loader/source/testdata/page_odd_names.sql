select "we""ird", "Exported At", "occurred_at", null::text, "user_id"::text, "anonymous_id"::text, "tutorial_id"::text, "segment_id"::text, "portal_id"::text, "version_id"::text, "event_name"::text
from "My Schema"."Rows; drop table x" as e
where ("Exported At", "we""ird") > ($1::timestamp, $2::uuid)
order by e."Exported At", e."we""ird"
limit $3
