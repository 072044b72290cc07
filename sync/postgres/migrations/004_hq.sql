-- What HQ's workers need beyond the ledger itself.

-- Orders for a store whose bucket another worker owns. The owner carries one out and writes the answer in the same
-- transaction; whoever placed it takes the row away again, answered or not.
CREATE TABLE letter (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    bucket smallint NOT NULL,
    placed timestamptz NOT NULL DEFAULT clock_timestamp(),
    body bytea NOT NULL,
    answer bytea
);
CREATE INDEX letter_open ON letter (bucket, id) WHERE answer IS NULL;

-- The newest signature of a log's writer: over the chain link at a position, so it vouches for every record up to it.
CREATE TABLE signed_end (
    log bigint PRIMARY KEY,
    seq bigint NOT NULL,
    link bytea NOT NULL,
    signature bytea NOT NULL
);

-- Rows that are asked for across stores: rights (6), for the pool, and arrivals of a transfer (10).
CREATE INDEX item_shared ON item (class, key) WHERE class IN (6, 10);
