select coalesce(day::text, ''), kind, count(*), sum(part)::text
from (
  select case when "occurred_at" >= '1970-01-01' and "occurred_at" < '10000-01-01' then ("occurred_at" at time zone 'UTC')::date end as day, case when "kind"::text = any ($5::text[]) then 'view' when "kind"::text = any ($6::text[]) then 'interaction' else '' end as kind,
    ('x' || left(md5("id"::text || '@' || coalesce(case when "occurred_at" >= '1970-01-01' and "occurred_at" < '10000-01-01' then (date_part('epoch', "occurred_at") * 1000000)::bigint::text end, '')), 16))::bit(64)::bigint as part
  from "public"."candu_interactions"
where "exported_at" is not null
  and "occurred_at" >= $1::timestamptz
  and "exported_at" >= $2::timestamptz
  and ("exported_at", "id") <= ($3::timestamptz, $4::bigint)
) as r
group by day, kind
