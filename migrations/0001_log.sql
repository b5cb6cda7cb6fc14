-- The log: events, what is sealed of them, and the one head row (docs/log-format.md).
-- PostgreSQL 15 syntax, no extensions.

-- One row. Whoever moves it writes the next batch; nobody else touches it but the fence.
create table log_head (
    only_row   boolean primary key default true check (only_row),
    position   bigint not null,       -- of the newest event; 0 = none
    time       timestamptz not null,  -- of the newest event
    generation integer not null,      -- of the read models that are live
    fence      bigint not null,       -- moved to settle an append whose outcome is unknown
    accounts   bigint not null,       -- number of the newest account
    groups     bigint not null,       -- number of the newest group
    streams    bigint not null,       -- id of the newest stream
    keys       bigint not null        -- id of the newest data key
) with (fillfactor = 10);             -- every append updates it: room for HOT updates in the page
insert into log_head values (true, 0, 'epoch', 1, 0, 10000, 10000, 0, 0);

-- The dictionary of stream names.
create table streams (
    id   bigint primary key,
    name text collate "C" not null unique
);

create table events (
    position bigint primary key,
    stream   bigint not null,
    version  bigint not null,
    kind     text collate "C" not null,
    schema   smallint not null,
    time     timestamptz not null,
    actor    bigint,
    salt     bytea not null,
    payload  bytea not null,          -- the exact bytes that are hashed: never json types
    sealed   bytea,                   -- SHA-256 of what is sealed
    unique (stream, version)
);

-- What is sealed for good, beside its event.
create table sealed (
    position bigint primary key,
    key      bigint not null,
    nonce    bytea not null,
    bytes    bytea not null
);

-- What is sealed of messages: a partition a UTC day, made ahead of time, dropped when its key is gone.
create table sealed_message (
    day         date not null,
    position    bigint not null,
    account_key bigint not null,
    stay_key    bigint not null,
    day_key     bigint not null,
    nonce       bytea not null,
    bytes       bytea not null,
    primary key (day, position)
) partition by list (day);

-- Ciphertext does not compress: do not try.
alter table sealed alter column bytes set storage external;
alter table sealed_message alter column bytes set storage external;

-- States of long streams, so that deciding need not fold them from the start. A cache: it may be emptied at any time.
create table snapshots (
    stream   bigint primary key,
    version  bigint not null,
    position bigint not null,         -- of the event with that version
    format   integer not null,
    state    bytea not null
);

create function log_is_append_only() returns trigger language plpgsql as $$
begin
    raise exception '% is append-only: % refused', tg_table_name, lower(tg_op)
        using errcode = 'integrity_constraint_violation';
end $$;

create trigger append_only before update or delete or truncate on events
    for each statement execute function log_is_append_only();
create trigger append_only before update or delete or truncate on streams
    for each statement execute function log_is_append_only();
create trigger append_only before update or truncate on sealed
    for each statement execute function log_is_append_only();
create trigger append_only before update or truncate on sealed_message
    for each statement execute function log_is_append_only();
create trigger head_stays before delete or truncate on log_head
    for each statement execute function log_is_append_only();

-- The first version of a stream behind a position (one more than its newest if there is none).
-- Positions rise with versions, so a handful of index look-ups finds it, however long the stream.
create function stream_version_after(wanted bigint, after bigint) returns bigint
language plpgsql stable as $$
declare
    low bigint := 1;
    high bigint;
    middle bigint;
    found_at bigint;
begin
    select version, position into high, found_at from events where stream = wanted order by version desc limit 1;
    if high is null or found_at <= after then
        return coalesce(high, 0) + 1;
    end if;
    while low < high loop
        middle := (low + high) / 2;
        select position into found_at from events where stream = wanted and version = middle;
        if found_at > after then
            high := middle;
        else
            low := middle + 1;
        end if;
    end loop;
    return low;
end $$;

-- The newest position that is not later than a time (0: none). Times rise with positions.
create function position_at(wanted timestamptz) returns bigint
language plpgsql stable as $$
declare
    low bigint := 0;
    high bigint;
    middle bigint;
    found_at timestamptz;
begin
    select position into high from log_head;
    while low < high loop
        middle := (low + high + 1) / 2;
        select time into found_at from events where position = middle;
        if found_at <= wanted then
            low := middle;
        else
            high := middle - 1;
        end if;
    end loop;
    return low;
end $$;
