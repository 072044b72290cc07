-- The newest signature of a log's writer: over the chain link at a position, so it vouches for every record up to it. One
-- row per log at most; bytes signed: WIRE.md, section 6.1.
CREATE TABLE signed_end (
    log INTEGER PRIMARY KEY,
    seq INTEGER NOT NULL,
    link BLOB NOT NULL,
    signature BLOB NOT NULL
) STRICT;
