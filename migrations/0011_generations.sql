-- The generations of the read models: of which shape each is, how far a rebuild has come, and up to
-- where one that is no longer live was kept. Outside of the log; which one is live, the head row says.
create table read_generations (
    generation integer primary key,
    models     text[] not null,       -- what it holds: name, version and shape of each read model
    build      text not null,         -- the version of be8 that made it
    phase      text not null check (phase in ('replay', 'index', 'catch-up', 'live', 'old')),
    rebuilt    text[] not null,       -- the read models that are replayed; the others were taken over
    taken_at   bigint,                -- the position at which they were
    reached    bigint not null,       -- up to where the log is in it, unless it is live
    indexes    text[] not null,       -- the statements that make the indexes which are still missing
    aborted    boolean not null default false,
    begun      timestamptz not null default clock_timestamp(),
    ended      timestamptz            -- when it went live
);
