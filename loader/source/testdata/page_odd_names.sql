select "we""ird", ("Exported At" at time zone 'UTC'), ("occurred_at" at time zone 'UTC'), null::text, "user_id"::text, "anonymous_id"::text, "tutorial_id"::text, "segment_id"::text, "portal_id"::text, "version_id"::text, "event_name"::text
from "My Schema"."Rows; drop table x" as e
where ("Exported At", "we""ird") > ($1::timestamptz at time zone 'UTC', $2::uuid)
order by e."Exported At", e."we""ird"
limit $3
