-- The sweeper finds what a deleted key had sealed. Messages are found by their thread instead: an
-- index more would cost every message.
create index sealed_key on sealed (key);
