-- Answers under an idempotency key: outside of the log, written in the append of the events that they answer for.
-- They live for 24 hours, or until their account is removed. Deciding on a key reads the newest row that is not too
-- old; one that is, and not swept yet, stands in nobody's way, since the time is a part of the key.
create table idempotency (
    account bigint not null,
    key     bytea not null,           -- HMAC of account and key, under the server's data key
    time    timestamptz not null,     -- of the events
    request bytea not null,           -- HMAC of route and body
    status  smallint not null,
    body    bytea not null,
    primary key (account, key, time)
);
create index on idempotency (time);

-- Accounts that are removed and whose answers are still to be swept: the append only notes them.
create table idempotency_over (
    account bigint not null
);

-- Whether new accounts may be made: the operator's word, beside the setting. Outside of the log.
create table registration (
    only_row boolean primary key default true check (only_row),
    open     boolean not null,
    changed  timestamptz not null
);
insert into registration values (true, true, 'epoch');
