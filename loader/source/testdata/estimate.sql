explain (format json) select from "public"."candu_interactions"
where "exported_at" >= $1::timestamptz
