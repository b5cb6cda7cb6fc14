-- The vault: the data keys that seal personal data, each wrapped by the master key, which is
-- never in the database. Erasing a wrapped key is how data is erased from an immutable log.

-- A schema of its own, so that one switch (pg_dump --exclude-schema=vault) leaves it out of a
-- dump: such a dump keeps nothing of what was sealed.
create schema vault;

-- Who may read the tables of the server, for reports or support, has no business with keys,
-- wrapped as they are. It is the default; said here since it is meant.
revoke all on schema vault from public;

-- Which master keys open the vault. One row; two while a rotation is under way.
create table vault.master (
    generation  integer primary key check (generation > 0),
    check_value bytea not null        -- a known text, sealed: tells a wrong master key before anything is written under it
);

create table vault.key (
    id      bigint primary key,
    subject text collate "C" not null unique,
    -- Nonce (12), data key under AES-256-GCM (32), tag (16). Null: erased. The row stays as a
    -- tombstone, so that no subject ever gets a second key.
    wrapped bytea check (octet_length(wrapped) = 60),
    -- The generation that wraps it. The reference keeps a node that has not heard of the end of a
    -- rotation from writing a key under a master key that is about to be destroyed.
    master  integer constraint key_has_a_master references vault.master (generation),
    constraint key_is_wrapped_by_a_master check ((wrapped is null) = (master is null))
);

-- A key changes in two ways only: a rotation wraps it anew, an erasure empties it for ever.
create function vault.guard_key() returns trigger language plpgsql as $$
begin
    if new.id <> old.id or new.subject <> old.subject then
        raise exception 'data key %: id and subject never change', old.id
            using errcode = 'integrity_constraint_violation';
    end if;
    if old.wrapped is null and new.wrapped is not null then
        raise exception 'data key %: an erased key stays erased', old.id
            using errcode = 'integrity_constraint_violation';
    end if;
    if new.wrapped is null then
        if old.subject = 'server' then
            raise exception 'data key %: the key of the server is never erased', old.id
                using errcode = 'integrity_constraint_violation';
        end if;
        -- Nothing wraps a tombstone, and it must not hold back the end of a rotation.
        new.master := null;
    end if;
    return new;
end $$;

create trigger guard_key before update on vault.key
    for each row execute function vault.guard_key();

-- Without its tombstone a subject could get a second key.
create function vault.keep_keys() returns trigger language plpgsql as $$
begin
    raise exception 'rows of vault.key are never removed: erasing a key leaves a tombstone'
        using errcode = 'integrity_constraint_violation';
end $$;

create trigger keep_keys before delete or truncate on vault.key
    for each statement execute function vault.keep_keys();
