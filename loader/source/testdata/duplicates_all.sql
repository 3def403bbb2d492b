select "id"::text
from "public"."candu_interactions"
where "exported_at" is not null
group by "id"
having count(*) > 1
order by 1
limit $1
