-- Checkpoints on request (docs/audit.md): whoever wants an event proved that no checkpoint covers yet writes down how many
-- events the next one has to cover. One row, which whoever signs reads; not part of the log.
create table audit_wanted (
    one  boolean primary key default true check (one),
    size bigint not null default 0,             -- how many events a checkpoint is wanted for
    next timestamptz                            -- no checkpoint is signed on request before
);
insert into audit_wanted default values;
