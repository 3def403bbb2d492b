select "we""ird", "Exported At", "occurred_at", null::text, "user_id"::text, "anonymous_id", "tutorial_id", "segment_id", "portal_id", "version_id", "event_name"
from "My Schema"."Rows; drop table x"
where ("Exported At", "we""ird") > ($1::timestamp, $2::uuid)
order by "Exported At", "we""ird"
limit $3
