-- Truncation: records of a log up to its floor are gone; what they add up to is kept, row by row.

-- Floors: the last record that is gone, the chain link there, and the greatest stamp among what is gone.
CREATE TABLE floor (
    log INTEGER PRIMARY KEY,
    upto INTEGER NOT NULL,
    link BLOB NOT NULL,
    at INTEGER NOT NULL
) STRICT;

-- Fold rows as they were at the floors, without the tickets: their rows guard numbers and stay where they are. Bytes:
-- src/image.rs.
CREATE TABLE base (
    store INTEGER NOT NULL,
    tab INTEGER NOT NULL,
    key BLOB NOT NULL,
    body BLOB NOT NULL,
    PRIMARY KEY (store, tab, key)
) WITHOUT ROWID, STRICT;
