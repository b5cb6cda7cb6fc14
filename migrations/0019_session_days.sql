-- The last day on which each session was used. Outside of the log, and coarse: one row a session, written at most once a day.
-- Rows of sessions that ended are swept within the hour.
create table session_days (
    session bytea primary key,  -- the hash of its token
    day     date not null
);
