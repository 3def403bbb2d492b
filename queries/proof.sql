-- name: ProofSwap :execrows
-- 0 rows: somebody else has recorded a verdict, or it is about something else now.
update loader_state set proof = @after::jsonb
where proof is not distinct from sqlc.narg(before)::jsonb and proof_epoch = @epoch::bigint;

-- name: VerifyLook :one
-- What the next slot of verify.schedule is computed from, by the clock that all replicas share. Further
-- away than far: the clock was put back since.
select
    s.verify_slot,
    coalesce(s.verify_held_until > clock_timestamp() and s.verify_held_until < clock_timestamp() + @far::interval, false)::boolean as held,
    exists (
        select from loader_leases l
        where l.expires_at > clock_timestamp() and l.expires_at < clock_timestamp() + @far::interval
    ) as busy,
    clock_timestamp()::timestamptz as now
from loader_state s;

-- name: VerifyBegin :exec
-- Slots count from now. A place in the future was written by a clock that was put back.
update loader_state
set verify_slot = clock_timestamp()
where verify_slot is null or verify_slot > clock_timestamp();

-- name: VerifyTake :execrows
-- Who changes the row verifies: exactly one replica, and none while a run or a backfill is under way.
update loader_state s
set verify_holder = @holder::text, verify_held_until = clock_timestamp() + @ttl::interval
where s.verify_slot = @slot::timestamptz
  and (s.verify_held_until is null or s.verify_held_until <= clock_timestamp() or s.verify_held_until >= clock_timestamp() + @far::interval)
  and not exists (
    select from loader_leases l
    where l.expires_at > clock_timestamp() and l.expires_at < clock_timestamp() + @far::interval
  );

-- name: VerifyRenew :execrows
-- 0 rows: another replica has it by now.
update loader_state
set verify_held_until = clock_timestamp() + @ttl::interval
where verify_holder = @holder::text;

-- name: VerifyEnd :exec
-- Of a verification that was interrupted the slot stays, and who looks next begins.
update loader_state
set verify_slot = coalesce(sqlc.narg(slot)::timestamptz, verify_slot), verify_holder = null, verify_held_until = null
where verify_holder = @holder::text;
