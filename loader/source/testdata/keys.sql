select "id", "exported_at", "occurred_at"
from "public"."candu_interactions" as e
where "exported_at" >= $1::timestamptz
  and "exported_at" < $2::timestamptz
order by e."exported_at", e."id"
limit $3
