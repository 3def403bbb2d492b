-- Rows are written with COPY, and made for it before their transaction begins: so the server
-- fills in when that was.
alter table screens alter column uuid_ts set default now();
alter table tracks alter column uuid_ts set default now();
alter table tutorial_interaction alter column uuid_ts set default now();
