-- name: VerifyMirror :many
-- Counts and fingerprints of the mirror per day and kind. The fingerprint is a sum,
-- so the order does not matter, of half of the MD5 of the row's id, so it is the same in
-- every database. min and max of ids would tell less, lists of ids would not fit in memory.
select m.day::text as day, m.kind::text as kind, count(*) as rows, sum(m.part)::text as fingerprint
from (
    select (s."timestamp" at time zone 'UTC')::date as day, 'view' as kind,
        ('x' || left(md5(s.loader_interaction_id), 16))::bit(64)::bigint as part
    from screens s
    where (sqlc.narg(range_from)::timestamptz is null or s."timestamp" >= sqlc.narg(range_from)::timestamptz)
      and (sqlc.narg(range_to)::timestamptz is null or s."timestamp" < sqlc.narg(range_to)::timestamptz)
    union all
    select (t."timestamp" at time zone 'UTC')::date as day, 'interaction' as kind,
        ('x' || left(md5(t.loader_interaction_id), 16))::bit(64)::bigint as part
    from tracks t
    where (sqlc.narg(range_from)::timestamptz is null or t."timestamp" >= sqlc.narg(range_from)::timestamptz)
      and (sqlc.narg(range_to)::timestamptz is null or t."timestamp" < sqlc.narg(range_to)::timestamptz)
) m
group by m.day, m.kind;

-- name: VerifyMirrorRows :many
-- A page of the mirror's rows of one day, in the order of the bytes of their ids.
select m.loader_interaction_id::text as interaction_id, m.kind::text as kind, m.at::timestamptz as at
from (
    select s.loader_interaction_id, 'view' as kind, s."timestamp" as at from screens s
    where s."timestamp" >= @day_from and s."timestamp" < @day_to and s.loader_interaction_id collate "C" > @after::text
    union all
    select t.loader_interaction_id, 'interaction' as kind, t."timestamp" as at from tracks t
    where t."timestamp" >= @day_from and t."timestamp" < @day_to and t.loader_interaction_id collate "C" > @after::text
) m
order by m.loader_interaction_id collate "C"
limit @count;

-- name: VerifyElsewhere :many
-- Where else in the mirror rows of the export are, by their own ids. There is no
-- index for that: it is asked only of what was not found where it should be.
select loader_interaction_id::text as interaction_id, 'view'::text as kind, "timestamp"::timestamptz as at
from screens where loader_interaction_id = any (@interaction_ids::text[])
union all
select loader_interaction_id::text, 'interaction', "timestamp"::timestamptz
from tracks where loader_interaction_id = any (@interaction_ids::text[]);
