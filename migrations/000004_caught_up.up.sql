-- When a run last came to the end of what it could see. Lag counts from there: a source
-- without new rows is not late.

alter table loader_state
    add column caught_up_at timestamptz,
    add column held_back_by text;

-- As far as is known.
update loader_state set caught_up_at = complete_until;

create or replace view loader_freshness as
select
    s.complete_until,
    s.watermark_at,
    (
        select max(r.finished_at) from loader_runs as r
        where r.status = 'succeeded' and r.kind in ('scheduled', 'manual')
    ) as last_success_at,
    now() - s.caught_up_at as lag,
    s.caught_up_at
from loader_state as s;

comment on column loader_state.caught_up_at is 'When a run last came to the end of what it could see in the export, by this database''s clock. NULL = no run did yet.';
comment on column loader_state.held_back_by is 'Why complete_until lies well before caught_up_at; NULL if it does not.';
comment on column loader_state.complete_until is 'Everything exported before this moment is in the mirror or in loader_rejects, as far as the last run that came to the end of the export can tell.';
comment on view loader_freshness is 'How fresh and how complete the mirror is; one row, for the line "complete until" of a dashboard and for alerts on lag.';
comment on column loader_freshness.complete_until is 'Everything exported before this moment is in the mirror or was rejected, as far as can be known. NULL = nothing is known yet. It stands still where no new rows come and late ones can''t be seen.';
comment on column loader_freshness.lag is 'Time since caught_up_at.';
comment on column loader_freshness.caught_up_at is 'When a run last came to the end of what it could see in the export. NULL = no run did yet.';
