select "we""ird", ("Exported At" at time zone 'UTC'), ("occurred_at" at time zone 'UTC')
from "My Schema"."Rows; drop table x" as e
where ("Exported At", "we""ird") > ($1::timestamptz at time zone 'UTC', $2::uuid)
  and "Exported At" < $3::timestamptz at time zone 'UTC'
order by e."Exported At", e."we""ird"
limit $4
