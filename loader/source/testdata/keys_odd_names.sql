select "we""ird", "Exported At", "occurred_at"
from "My Schema"."Rows; drop table x" as e
where ("Exported At", "we""ird") > ($1::timestamp, $2::uuid)
  and "Exported At" < $3::timestamp
order by e."Exported At", e."we""ird"
limit $4
