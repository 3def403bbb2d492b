select "we""ird"::text
from "My Schema"."Rows; drop table x"
where "Exported At" is not null
  and "Exported At" >= $1::timestamp
  and ("Exported At", "we""ird") <= ($2::timestamp, $3::uuid)
  and "we""ird" = any ($4::text[]::uuid[])
