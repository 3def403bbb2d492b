select count(*) from (select from "public"."candu_interactions"
where "exported_at" > clock_timestamp()
limit $1) as counted
