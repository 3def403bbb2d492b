drop index loader_slots_running;
alter table loader_slots drop column held_until;
alter table loader_state drop column slots_since, drop column slots_schedule, drop column alerts;
