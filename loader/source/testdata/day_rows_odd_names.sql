select "we""ird"::text, case when "event_name"::text ~ '\S' then 'interaction' else 'view' end, "occurred_at" at time zone 'UTC'
from "My Schema"."Rows; drop table x"
where "Exported At" is not null
  and "occurred_at" >= $1::timestamp
  and "Exported At" >= $2::timestamp
  and ("Exported At", "we""ird") <= ($3::timestamp, $4::uuid)
  and "we""ird"::text collate "C" > $5
order by "we""ird"::text collate "C"
limit $6
