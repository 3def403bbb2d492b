select "we""ird"::text
from "My Schema"."Rows; drop table x"
where "Exported At" >= $1::timestamptz at time zone 'UTC'
group by "we""ird"
having count(*) > 1
order by 1
limit $2
