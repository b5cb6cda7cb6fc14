-- The name of this log in the store of images, so that logs that share a place leave each other's blobs alone. Outside of
-- the log: a copy of the database that is to live beside the original needs a place of its own.
create table media_store (
    only_row boolean primary key default true check (only_row),
    id       uuid not null default gen_random_uuid()
);
insert into media_store default values;
