select "we""ird"::text, case when "event_name"::text collate "C" ~ E'[^\\u0009\\u000a\\u000b\\u000c\\u000d\\u0020\\u0085\\u00a0\\u1680\\u2000\\u2001\\u2002\\u2003\\u2004\\u2005\\u2006\\u2007\\u2008\\u2009\\u200a\\u2028\\u2029\\u202f\\u205f\\u3000]' then 'interaction' else 'view' end, ("occurred_at" at time zone 'UTC')
from "My Schema"."Rows; drop table x"
where "Exported At" is not null
  and "occurred_at" >= $1::timestamptz at time zone 'UTC'
  and "Exported At" >= $2::timestamptz at time zone 'UTC'
  and ("Exported At", "we""ird") <= ($3::timestamptz at time zone 'UTC', $4::uuid)
  and "we""ird"::text collate "C" > $5
order by "we""ird"::text collate "C"
limit $6
