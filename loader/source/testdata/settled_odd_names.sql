select "we""ird"::text
from "My Schema"."Rows; drop table x"
where "Exported At" is not null
  and "Exported At" >= $1::timestamptz at time zone 'UTC'
  and ("Exported At", "we""ird") <= ($2::timestamptz at time zone 'UTC', $3::uuid)
  and "we""ird" = any ($4::text[]::uuid[])
