-- Web Push: deliveries that are not over. Outside of the log; written only by who holds the lead of the process.
create table push_attempts (
    id bigint generated always as identity primary key,
    account bigint not null,         -- whose device
    device bytea not null,           -- the fingerprint of its endpoint, under the account's key
    service text collate "C" not null, -- the entry of the list of allowed hosts that its endpoint is at
    thread bigint not null,          -- the key of the thread
    message bigint not null,         -- the position of the newest message in it that the device is to be told of
    sender bigint not null,
    nickname bigint not null,        -- the position of the event that set the sender's nickname
    written timestamptz not null,    -- when the message was written
    tries integer not null default 0,
    due timestamptz not null,
    sent boolean not null default false -- recorded as sent; its answer is not known yet
);
-- Of what waits, a newer message in the same thread takes the place of the older one; and only one is under way.
create unique index push_waiting on push_attempts (account, device, thread) where not sent;
create unique index push_sent on push_attempts (account, device, thread) where sent;
create index push_due on push_attempts (service, due) where not sent;
