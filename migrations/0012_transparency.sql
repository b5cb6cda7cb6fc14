-- The transparency log (docs/audit.md): made from the log of events, outside of it.

-- Up to 256 hashes of a level, 32 bytes each. A tile only grows, and a full one never changes.
create table audit_tiles (
    level  smallint not null,
    number bigint not null,
    hashes bytea not null,
    primary key (level, number)
) with (fillfactor = 70);

-- Hashes do not compress: do not try.
alter table audit_tiles alter column hashes set storage external;

-- The keys that sign. The newest one is the log's; older ones are of logs that `be8 audit-restart` ended.
create table audit_logs (
    id  integer primary key,
    key text not null                           -- the public half
);
create trigger append_only before update or delete or truncate on audit_logs
    for each statement execute function log_is_append_only();

-- Every checkpoint that was ever signed.
create table audit_heads (
    log          integer not null references audit_logs,
    size         bigint not null,               -- how many entries it covers: the newest position
    root         bytea not null,
    note         text not null,                 -- as it was signed
    cosignatures text not null default '',      -- the lines of the witnesses
    primary key (log, size)
);
create index audit_heads_cosigned on audit_heads (log, size) where cosignatures <> '';

create trigger append_only before delete or truncate on audit_heads
    for each statement execute function log_is_append_only();
create trigger append_only_signed before update of log, size, root, note on audit_heads
    for each statement execute function log_is_append_only();

-- What was last cosigned of each foreign log.
create table audit_witnessed (
    origin text collate "C" primary key,
    size   bigint not null,
    root   bytea not null,
    note   text not null
);
