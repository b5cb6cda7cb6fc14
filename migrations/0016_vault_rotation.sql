-- When each generation of the key that wraps the data keys began and was finished: what was erased up to `position` was
-- never wrapped under it, so that no copy of it opens once the older generations are destroyed.

alter table vault.master
    add column position    bigint not null default 0,
    add column made_at     timestamptz not null default now(),
    add column wrapped_at  timestamptz,
    -- Up to this position of the log, data keys may have been wrapped under the master key alone, which is never destroyed.
    -- Null: they still are, or nobody knows.
    add column alone_until bigint;
