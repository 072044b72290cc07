-- Buckets and their owners. A bucket is store modulo 64. Whoever commits holds the bucket's token of that moment: see src/lease.rs.
CREATE TABLE lease (
    bucket smallint PRIMARY KEY CHECK (bucket BETWEEN 0 AND 63),
    owner text,
    token bigint NOT NULL DEFAULT 0,
    expires timestamptz NOT NULL DEFAULT '-infinity',
    -- The worker whose home the bucket is and who would like it back.
    wanted text
);
INSERT INTO lease (bucket) SELECT generate_series(0, 63);

-- One row per log: its end, the chain link there, and what the peer said it has durably.
CREATE TABLE log (
    id bigint PRIMARY KEY,
    bucket smallint NOT NULL,
    store bigint NOT NULL,
    direction bigint NOT NULL,
    epoch bigint NOT NULL,
    head bigint NOT NULL,
    link bytea NOT NULL,
    acked bigint NOT NULL DEFAULT 0,
    acked_link bytea,
    closed boolean NOT NULL DEFAULT false,
    UNIQUE (store, direction, epoch)
);
CREATE INDEX log_bucket ON log (bucket);
-- Numbers are given out before the transaction that uses them; some are never used.
CREATE SEQUENCE log_number MAXVALUE 4194303;

-- The record bytes, exactly as written or received. pos = log.id * 2^40 + seq.
CREATE TABLE event (
    pos bigint NOT NULL,
    bucket smallint NOT NULL,
    record bytea NOT NULL,
    PRIMARY KEY (bucket, pos)
) PARTITION BY LIST (bucket);

-- The chain link at every 64th seq.
CREATE TABLE seal (
    pos bigint PRIMARY KEY,
    link bytea NOT NULL
);

-- When a run of received events arrived; the row with the greatest pos at or before an event's is the event's.
CREATE TABLE arrival (
    pos bigint PRIMARY KEY,
    received bigint NOT NULL
);
