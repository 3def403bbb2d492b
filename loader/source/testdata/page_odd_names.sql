select "we""ird", ("Exported At" at time zone 'UTC'), ("occurred_at" at time zone 'UTC'), null::text, "user_id", "anonymous_id", "tutorial_id", "segment_id", "portal_id", "version_id", "event_name"
from "My Schema"."Rows; drop table x" as e
where ("Exported At", "we""ird") > ($1::timestamptz at time zone 'UTC', $2::uuid)
order by e."Exported At", e."we""ird"
limit $3
