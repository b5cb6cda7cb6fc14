-- The map of histories (docs/log-format.md): made from the log of events, outside of it, by the holder of one lead.

-- One row: how far the map goes.
create table audit_map (
    one    boolean primary key default true check (one),
    until  bigint not null default 0,   -- the position of the last event in it
    root   bytea not null default decode(repeat('00', 32), 'hex'),
    oldest bigint not null default 0    -- maps up to positions before this one are not kept
);
insert into audit_map default values;

-- The nodes of its tree, also those of earlier maps that are kept: a node is of the maps from `born` on and before `died`.
create table audit_map_nodes (
    prefix bytea not null,              -- the first bits of all indexes below it, four to a byte
    born   bigint not null,
    died   bigint,
    node   bytea not null,
    primary key (prefix, born)
);
create index audit_map_nodes_died on audit_map_nodes (died) where died is not null;

-- Hashes do not compress: do not try.
alter table audit_map_nodes alter column node set storage external;

-- Up to where the map goes that the last entry of a head commits to; null for heads of older builds.
alter table audit_heads add column histories bigint;
create trigger append_only_histories before update of histories on audit_heads
    for each statement execute function log_is_append_only();
