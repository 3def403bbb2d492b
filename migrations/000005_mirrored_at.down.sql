alter table screens alter column uuid_ts drop default;
alter table tracks alter column uuid_ts drop default;
alter table tutorial_interaction alter column uuid_ts drop default;
