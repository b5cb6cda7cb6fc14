-- Logical replication and change data capture tell rows apart by a primary key. An account is removed once; should a row be there
-- twice, one of them says as much.
delete from idempotency_over a using idempotency_over b where a.account = b.account and a.ctid > b.ctid;
alter table idempotency_over add primary key (account);
