-- Web Push: who has an endpoint, and which devices a push service refuses. Outside of the log; rows go with their device,
-- in the append that drops it or removes its account.

-- An endpoint is a browser's: the account that subscribed it last is the only one that is pushed to there.
create table push_endpoints (
    endpoint bytea primary key,  -- HMAC of the endpoint under the key of the server: the same for all accounts
    account bigint not null,
    device bytea not null        -- HMAC of the endpoint under the key of the account: the device
);
create index push_endpoints_device on push_endpoints (account, device);

-- Refused pushes in a row, since the service last accepted one.
create table push_refusals (
    account bigint not null,
    device bytea not null,
    refusals integer not null,
    primary key (account, device)
);
