-- For development: takes everything away, the mirror too.
drop table loader_rejects, loader_slots, loader_runs, loader_leases, loader_state;
drop view tutorial_view;
drop table screens, tutorial_interaction, tracks;
