drop view loader_freshness;
create view loader_freshness as
select
    s.complete_until,
    s.watermark_at,
    (
        select max(r.finished_at) from loader_runs as r
        where r.status = 'succeeded' and r.kind in ('scheduled', 'manual')
    ) as last_success_at,
    now() - s.complete_until as lag
from loader_state as s;
alter table loader_state drop column caught_up_at, drop column held_back_by;
