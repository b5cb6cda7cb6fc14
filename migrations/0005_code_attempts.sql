-- Attempts at lock codes: how many did not succeed, and when the next one is allowed. Outside of the log: a failure
-- is no event, since strangers must not make the log grow. It survives a restart, and all nodes share it.
create table code_attempts (
    account bigint primary key,
    count   integer not null,
    next    timestamptz not null
);
