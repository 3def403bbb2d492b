select coalesce(day::text, ''), kind, count(*), sum(part)::text
from (
  select case when "occurred_at" >= '1970-01-01' and "occurred_at" < '10000-01-01' then "occurred_at"::date end as day, case when "event_name"::text ~ '\S' then 'interaction' else 'view' end as kind,
    ('x' || left(md5("we""ird"::text || '@' || coalesce(case when "occurred_at" >= '1970-01-01' and "occurred_at" < '10000-01-01' then (date_part('epoch', "occurred_at") * 1000000)::bigint::text end, '')), 16))::bit(64)::bigint as part
  from "My Schema"."Rows; drop table x"
where "Exported At" is not null
  and (case when "occurred_at" >= '1970-01-01' and "occurred_at" < '10000-01-01' then "occurred_at"::date end) is null
  and "Exported At" < $1::timestamp
) as r
group by day, kind
