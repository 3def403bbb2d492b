select coalesce(day::text, ''), kind, count(*), sum(part)::text
from (
  select case when ("occurred_at" at time zone 'UTC') >= '1970-01-01' and ("occurred_at" at time zone 'UTC') < '10000-01-01' then (("occurred_at" at time zone 'UTC') at time zone 'UTC')::date end as day, case when "event_name"::text collate "C" ~ E'[^\\u0009\\u000a\\u000b\\u000c\\u000d\\u0020\\u0085\\u00a0\\u1680\\u2000\\u2001\\u2002\\u2003\\u2004\\u2005\\u2006\\u2007\\u2008\\u2009\\u200a\\u2028\\u2029\\u202f\\u205f\\u3000]' then 'interaction' else 'view' end as kind,
    ('x' || left(md5("we""ird"::text || '@' || coalesce(case when ("occurred_at" at time zone 'UTC') >= '1970-01-01' and ("occurred_at" at time zone 'UTC') < '10000-01-01' then (date_part('epoch', ("occurred_at" at time zone 'UTC')) * 1000000)::bigint::text end, '')), 16))::bit(64)::bigint as part
  from "My Schema"."Rows; drop table x"
where "Exported At" is not null
  and (case when ("occurred_at" at time zone 'UTC') >= '1970-01-01' and ("occurred_at" at time zone 'UTC') < '10000-01-01' then (("occurred_at" at time zone 'UTC') at time zone 'UTC')::date end) is null
  and "Exported At" < $1::timestamptz at time zone 'UTC'
) as r
group by day, kind
