drop view loader_freshness;
drop view tutorial_daily;
