-- Process managers: how far each has come. Outside of the log; moved only by who holds its lock.
create table checkpoints (
    process text collate "C" primary key,
    reached bigint not null
);
