-- What serve needs to account for every slot.

alter table loader_state
    -- Slots are counted from here on, by this schedule; a change of the schedule
    -- begins anew, after the slots of the old one have been settled.
    add column slots_since timestamptz,
    add column slots_schedule text,
    -- What was announced: two replicas, or one that began again, must not
    -- announce it twice.
    add column alerts jsonb not null default '{}';

-- A slot whose holder died is found by this and taken over.
alter table loader_slots add column held_until timestamptz;
create index loader_slots_running on loader_slots (slot_at) where status = 'running';

comment on column loader_state.slots_since is 'Slots are accounted for from this moment on. NULL = serve never ran.';
comment on column loader_state.slots_schedule is 'The schedule that they are computed with, and its time zone.';
comment on column loader_state.alerts is 'What serve has announced, so that nothing is announced twice.';
comment on column loader_slots.held_until is 'Until when its holder has the slot unless it renews that; NULL once the slot has ended.';
