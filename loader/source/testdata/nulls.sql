select count(*) from (select from "My Schema"."Rows; drop table x"
where "Exported At" is null
limit $1) as counted
