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

-- Every checkpoint that was ever signed.
create table audit_heads (
    size         bigint primary key,            -- how many entries it covers: the newest position
    root         bytea not null,
    note         text not null,                 -- as it was signed
    cosignatures text not null default ''       -- the lines of the witnesses
);
create index audit_heads_cosigned on audit_heads (size) where cosignatures <> '';

create trigger append_only before delete or truncate on audit_heads
    for each statement execute function log_is_append_only();
create trigger append_only_signed before update of size, root, note on audit_heads
    for each statement execute function log_is_append_only();

-- What was last cosigned of each foreign log.
create table audit_witnessed (
    origin text collate "C" primary key,
    size   bigint not null,
    root   bytea not null,
    note   text not null
);
