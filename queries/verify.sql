-- name: VerifyMirror :many
-- Counts and fingerprints of the mirror per day and kind. The fingerprint is a sum, so
-- the order does not matter, of half of the MD5 of the row's id and time, so it is the
-- same in every database. tutorial_interaction is a kind of its own here: it must hold
-- what tracks holds.
select m.day::text as day, m.kind::text as kind, count(*) as rows, coalesce(sum(m.part), 0)::text as fingerprint
from (
    select (e."timestamp" at time zone 'UTC')::date as day, e.kind,
        ('x' || left(md5(e.loader_interaction_id || '@' || (date_part('epoch', e."timestamp") * 1000000)::bigint::text), 16))::bit(64)::bigint as part
    from (
        select s.loader_interaction_id, s."timestamp", 'view' as kind from screens s
        union all
        select t.loader_interaction_id, t."timestamp", 'interaction' from tracks t
        union all
        select i.loader_interaction_id, i."timestamp", 'tutorial_interaction' from tutorial_interaction i
    ) e
    where (sqlc.narg(range_from)::timestamptz is null or e."timestamp" >= sqlc.narg(range_from)::timestamptz)
      and (sqlc.narg(range_to)::timestamptz is null or e."timestamp" < sqlc.narg(range_to)::timestamptz)
) m
group by m.day, m.kind;

-- name: VerifyMirrorRows :many
-- A page of the mirror's rows of one day, in the order of the bytes of their ids, after the one given; NULL stands
-- before every id, an empty text does not. copies is how often the row of the export stands in that day; whole is false for a track
-- without its row in tutorial_interaction.
select m.loader_interaction_id::text as interaction_id, m.kind::text as kind, m.at::timestamptz as at, m.whole::boolean as whole,
    count(*) over (partition by m.loader_interaction_id collate "C") as copies
from (
    select s.loader_interaction_id, 'view' as kind, s."timestamp" as at, true as whole from screens s
    where s."timestamp" >= @day_from and s."timestamp" < @day_to and s.loader_interaction_id is not null
      and (sqlc.narg(after)::text is null or s.loader_interaction_id collate "C" > sqlc.narg(after)::text)
    union all
    select t.loader_interaction_id, 'interaction', t."timestamp", i.id is not null from tracks t
    left join tutorial_interaction i on i.id = t.id
    where t."timestamp" >= @day_from and t."timestamp" < @day_to and t.loader_interaction_id is not null
      and (sqlc.narg(after)::text is null or t.loader_interaction_id collate "C" > sqlc.narg(after)::text)
) m
order by m.loader_interaction_id collate "C"
limit @count;

-- name: VerifyElsewhere :many
-- Where in the mirror rows of the export are, by their own ids. There is no index for
-- that: it is asked only of what was not found where it should be.
select loader_interaction_id::text as interaction_id, 'view'::text as kind, "timestamp"::timestamptz as at
from screens where loader_interaction_id in (select unnest(@interaction_ids::text[]))
union all
select loader_interaction_id::text, 'interaction', "timestamp"::timestamptz
from tracks where loader_interaction_id in (select unnest(@interaction_ids::text[]));
