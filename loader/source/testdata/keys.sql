select "id", "exported_at", "occurred_at"
from "public"."candu_interactions"
where "exported_at" >= $1::timestamptz
  and "exported_at" < $2::timestamptz
order by "exported_at", "id"
limit $3
