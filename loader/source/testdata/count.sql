select count(*) from (select from "public"."candu_interactions"
where ("exported_at", "id") > ($1::timestamptz, $2::bigint)
limit $3) as counted
