-- Sealed bytes may be swept only when they can never be read again: when a key of theirs is gone.

create function sealed_key_must_be_gone() returns trigger language plpgsql as $$
begin
    if exists (select from vault.key where id = old.key and wrapped is not null) then
        raise exception 'sealed bytes of event % are readable: delete refused', old.position
            using errcode = 'integrity_constraint_violation';
    end if;
    return old;
end $$;

create function sealed_message_key_must_be_gone() returns trigger language plpgsql as $$
begin
    if 3 = (select count(*) from vault.key
            where id in (old.account_key, old.stay_key, old.day_key) and wrapped is not null) then
        raise exception 'sealed bytes of event % are readable: delete refused', old.position
            using errcode = 'integrity_constraint_violation';
    end if;
    return old;
end $$;

create trigger key_gone before delete on sealed
    for each row execute function sealed_key_must_be_gone();
create trigger key_gone before delete on sealed_message
    for each row execute function sealed_message_key_must_be_gone();
