-- name: KeyDue :one
-- Whether Segment is to be asked if it knows the write key with that hash: where it never was
-- about this one, said no (somebody may have made the source since), or could not say a day ago.
-- Whoever stores another hash sets write_key_known to NULL and write_key_asked_at to NULL.
select case
    when write_key_hash is distinct from @write_key_hash::text then true
    when write_key_known then false
    when write_key_known is null then coalesce(write_key_asked_at < clock_timestamp() - interval '24 hours', true)
    else true
end::boolean as due
from loader_state;

-- name: KeyAsked :execrows
-- What was said. Of a key that is unknown no hash is kept: nothing was sent with it.
update loader_state
set write_key_hash = case when sqlc.narg(write_key_known)::boolean is distinct from false then @write_key_hash::text else write_key_hash end,
    write_key_known = sqlc.narg(write_key_known)::boolean, write_key_asked_at = clock_timestamp(), updated_at = clock_timestamp();

-- name: KeyFill :execrows
update loader_state set write_key_hash = @write_key_hash::text, updated_at = clock_timestamp() where write_key_hash is null;
