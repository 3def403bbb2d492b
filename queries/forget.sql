-- name: LeasesTake :one
-- As RunOpen, without a run: somebody holds what runs and backfills hold, so that none is under way.
-- Where a lease is not free, tokens is NULL, the row says who holds it, and the transaction must be
-- rolled back.
with taken as (
    insert into loader_leases as l (name, holder, token, acquired_at, expires_at)
    select o.name, @holder, 1, clock_timestamp(), clock_timestamp() + @ttl::interval
    from (select unnest(@leases::text[]) as name) o order by o.name
    on conflict (name) do update
    set holder = excluded.holder, token = l.token + 1,
        acquired_at = excluded.acquired_at, expires_at = excluded.expires_at,
        wanted_by = nullif(l.wanted_by, excluded.holder)
    where l.expires_at <= clock_timestamp() or l.expires_at > clock_timestamp() + @far::interval
        or l.holder = excluded.holder
    returning name, token
), lease as (
    select array_agg(t.token order by t.name) as tokens from taken t
    having count(*) = cardinality(@leases::text[])
), dead as (
    update loader_runs r
    set status = 'interrupted', finished_at = clock_timestamp(), error = 'the run died without finishing'
    where r.status = 'running' and exists (select from lease)
)
select lease.tokens::bigint[] as tokens,
    coalesce(h.holder, '')::text as held_by,
    coalesce(h.name, '')::text as held_name,
    coalesce(h.acquired_at, to_timestamp(0))::timestamptz as held_since,
    clock_timestamp()::timestamptz as clock
from loader_state s
left join lease on true
left join lateral (
    select l.* from loader_leases l where l.name = any (@leases::text[]) order by l.expires_at desc limit 1
) h on true;

-- name: LeasesFree :exec
-- Long ago, as RunFinish does it.
update loader_leases l set expires_at = to_timestamp(0)
from (select unnest(@leases::text[]) as name, unnest(@tokens::bigint[]) as token) o
where l.name = o.name and l.token = o.token and l.holder = @holder;

-- name: ForgottenAll :many
-- By what identities are hashed, and the hashes. A statement of its own, after the lease was taken: what
-- RunOpen reads of the state may be from before somebody was forgotten.
select s.forgotten_salt, f.hash from loader_state s cross join loader_forgotten f;

-- name: ForgottenSalt :one
-- The salt, which is stored once.
update loader_state set forgotten_salt = coalesce(forgotten_salt, @salt::bytea), updated_at = clock_timestamp()
returning forgotten_salt::bytea as salt;

-- name: ForgottenPut :execrows
-- Remembers identities. Those that are known already begin anew.
insert into loader_forgotten as f (hash, identity, forgotten_by)
select unnest(@hashes::bytea[]), unnest(@identities::text[]), @forgotten_by
on conflict (hash) do update set finished_at = null, forgotten_by = excluded.forgotten_by;

-- name: ForgottenKnown :one
select exists (select from loader_forgotten where hash = @hash) as known;

-- name: ForgottenDone :exec
-- Adds up what was erased, with the identity that was asked for, and ends it for all.
update loader_forgotten
set finished_at = clock_timestamp(),
    screens = screens + case when hash = @first::bytea then @screens::bigint else 0 end,
    tracks = tracks + case when hash = @first::bytea then @tracks::bigint else 0 end,
    tutorial_interaction = tutorial_interaction + case when hash = @first::bytea then @tutorial_interaction::bigint else 0 end,
    rejects = rejects + case when hash = @first::bytea then @rejects::bigint else 0 end
where hash = any (@hashes::bytea[]);

-- name: ForgetPiece :one
-- Where a piece of the mirror ends that begins after an id, and has some rows of each table at most;
-- '' if there is nothing after it.
select coalesce(
    (select min(n.id) from (
        (select s.id from screens s where s.id > @after::text order by s.id offset @count::bigint limit 1)
        union all
        (select t.id from tracks t where t.id > @after::text order by t.id offset @count::bigint limit 1)
        union all
        (select i.id from tutorial_interaction i where i.id > @after::text order by i.id offset @count::bigint limit 1)
    ) n),
    (select max(m.id) from (
        (select s.id from screens s where s.id > @after::text order by s.id desc limit 1)
        union all
        (select t.id from tracks t where t.id > @after::text order by t.id desc limit 1)
        union all
        (select i.id from tutorial_interaction i where i.id > @after::text order by i.id desc limit 1)
    ) m),
    '')::text as last;

-- name: ForgetFind :many
-- The rows of a piece that name somebody, by the identities that they have.
select m.relation::text as relation, m.user_id::text as user_id, m.anonymous_id::text as anonymous_id, count(*) as rows
from (
    select 'screens' as relation, coalesce(btrim(s.user_id, @blanks::text), '') as user_id, coalesce(btrim(s.anonymous_id, @blanks::text), '') as anonymous_id
    from screens s where s.id > @after::text and s.id <= @last::text
    union all
    select 'tracks', coalesce(btrim(t.user_id, @blanks::text), ''), coalesce(btrim(t.anonymous_id, @blanks::text), '')
    from tracks t where t.id > @after::text and t.id <= @last::text
    union all
    select 'tutorial_interaction', coalesce(btrim(i.user_id, @blanks::text), ''), coalesce(btrim(i.anonymous_id, @blanks::text), '')
    from tutorial_interaction i where i.id > @after::text and i.id <= @last::text
) m
where m.user_id = any (@user_ids::text[]) or m.anonymous_id = any (@anonymous_ids::text[])
group by m.relation, m.user_id, m.anonymous_id;

-- name: ForgetErase :one
-- Takes the identity out of the rows of a piece that name somebody, all of it: both columns name the
-- same person.
with s as (
    update screens set user_id = null, anonymous_id = null
    where id > @after::text and id <= @last::text
      and (btrim(user_id, @blanks::text) = any (@user_ids::text[]) or btrim(anonymous_id, @blanks::text) = any (@anonymous_ids::text[]))
    returning 1
), t as (
    update tracks set user_id = null, anonymous_id = null
    where id > @after::text and id <= @last::text
      and (btrim(user_id, @blanks::text) = any (@user_ids::text[]) or btrim(anonymous_id, @blanks::text) = any (@anonymous_ids::text[]))
    returning 1
), i as (
    update tutorial_interaction set user_id = null, anonymous_id = null
    where id > @after::text and id <= @last::text
      and (btrim(user_id, @blanks::text) = any (@user_ids::text[]) or btrim(anonymous_id, @blanks::text) = any (@anonymous_ids::text[]))
    returning 1
)
select (select count(*) from s) as screens, (select count(*) from t) as tracks, (select count(*) from i) as tutorial_interaction;

-- name: ForgetDelete :many
-- Deletes them instead, and returns what a reject needs that takes their place.
with s as (
    delete from screens
    where id > @after::text and id <= @last::text
      and (btrim(user_id, @blanks::text) = any (@user_ids::text[]) or btrim(anonymous_id, @blanks::text) = any (@anonymous_ids::text[]))
    returning loader_interaction_id, "timestamp"
), t as (
    delete from tracks
    where id > @after::text and id <= @last::text
      and (btrim(user_id, @blanks::text) = any (@user_ids::text[]) or btrim(anonymous_id, @blanks::text) = any (@anonymous_ids::text[]))
    returning loader_interaction_id, "timestamp"
), i as (
    delete from tutorial_interaction
    where id > @after::text and id <= @last::text
      and (btrim(user_id, @blanks::text) = any (@user_ids::text[]) or btrim(anonymous_id, @blanks::text) = any (@anonymous_ids::text[]))
    returning loader_interaction_id, "timestamp"
)
select 'screens'::text as relation, coalesce(s.loader_interaction_id, '')::text as interaction_id, s."timestamp" as at from s
union all
select 'tracks', coalesce(t.loader_interaction_id, '')::text, t."timestamp" from t
union all
select 'tutorial_interaction', coalesce(i.loader_interaction_id, '')::text, i."timestamp" from i;

-- name: ForgetRejects :execrows
update loader_rejects r set interaction = n.interaction, detail = n.detail
from (
    select unnest(@interaction_ids::text[]) as interaction_id, unnest(@interactions::jsonb[]) as interaction, unnest(@details::text[]) as detail
) n
where r.interaction_id = n.interaction_id;

-- name: RunsSaying :many
-- Runs whose error has one of some texts in it: what Segment or a server said of a row.
select id, error::text as error from loader_runs
where exists (select from unnest(@texts::text[]) n (text) where strpos(error, n.text) > 0);

-- name: ForgetErrors :execrows
update loader_runs r set error = n.error
from (select unnest(@ids::bigint[]) as id, unnest(@errors::text[]) as error) n
where r.id = n.id;

-- name: RunLast :one
-- The newest run, 0 if there is none.
select coalesce(max(id), 0)::bigint as id from loader_runs;
