-- Logs, their events, and the chain. A position packs log number and seq: pos = log.id * 2^40 + seq.
-- One integer key keeps an event row at its record plus about eight bytes, and appends at the end of a log's range.

-- Facts about this file. Values carry their own check sum, see src/schema.rs.
CREATE TABLE meta (
    key TEXT PRIMARY KEY,
    value BLOB NOT NULL
) WITHOUT ROWID, STRICT;

-- One row per log: its end, the chain link there, and what the peer said it has durably.
CREATE TABLE log (
    id INTEGER PRIMARY KEY,
    store INTEGER NOT NULL,
    direction INTEGER NOT NULL,
    epoch INTEGER NOT NULL,
    head INTEGER NOT NULL,
    link BLOB NOT NULL,
    acked INTEGER NOT NULL DEFAULT 0,
    acked_link BLOB,
    closed INTEGER NOT NULL DEFAULT 0,
    UNIQUE (store, direction, epoch)
) STRICT;

-- The record bytes, exactly as written or received.
CREATE TABLE event (
    pos INTEGER PRIMARY KEY,
    record BLOB NOT NULL
) STRICT;

-- The chain link at every 64th seq: localises damage and makes any link cheap to derive.
CREATE TABLE seal (
    pos INTEGER PRIMARY KEY,
    link BLOB NOT NULL
) STRICT;

-- When a run of received events arrived; the row with the greatest pos at or before an event's is the event's.
CREATE TABLE arrival (
    pos INTEGER PRIMARY KEY,
    received INTEGER NOT NULL
) STRICT;
