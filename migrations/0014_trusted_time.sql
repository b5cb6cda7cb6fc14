-- The time by which a server ends what is over, outside of the log: a clock that jumps forwards is not believed at once, and a
-- restart must not make it be believed. Written by the node that leads the expiry; read by every node that starts.
create table trusted_time (
    only_row    boolean primary key default true check (only_row),
    time        timestamptz not null,  -- what the writer trusted last
    ahead       bigint,                -- by how many microseconds its clock was ahead of that, unless it trusted its clock
    steady_from timestamptz,           -- since when (of the trusted time) the clock has been ahead by that
    confirmed   bigint not null,       -- how often an operator has confirmed the clock
    check ((ahead is null) = (steady_from is null))
);
