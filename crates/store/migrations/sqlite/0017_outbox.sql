-- What others are told, one row for each receiver, until it is delivered; `id` is the order. A row with a time in `dead_at`
-- was given up and waits for the operator.
CREATE TABLE outbox (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    receiver TEXT NOT NULL,
    message_id TEXT NOT NULL,
    at BIGINT NOT NULL,
    level TEXT NOT NULL,
    event_type TEXT NOT NULL,
    publisher_id TEXT NOT NULL,
    kind TEXT NOT NULL,
    payload TEXT NOT NULL,
    attempts BIGINT NOT NULL,
    error TEXT,
    dead_at BIGINT
);
CREATE INDEX outbox_waiting ON outbox (receiver, id) WHERE dead_at IS NULL;
CREATE INDEX outbox_dead ON outbox (id) WHERE dead_at IS NOT NULL;

-- Who sends to a receiver, of several conductors, and how many messages it has lost.
CREATE TABLE outbox_receiver (
    receiver TEXT NOT NULL PRIMARY KEY,
    holder TEXT,
    held_until BIGINT NOT NULL,
    dropped BIGINT NOT NULL
);
