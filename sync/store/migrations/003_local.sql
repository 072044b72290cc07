-- What belongs to this file alone and is not settled.

-- Answers already given, by idempotency key.
CREATE TABLE answer (
    key TEXT PRIMARY KEY,
    digest BLOB NOT NULL,
    pos INTEGER NOT NULL
) WITHOUT ROWID, STRICT;

-- Small local state of the daemon: latches, timers.
CREATE TABLE state (
    key TEXT PRIMARY KEY,
    value BLOB NOT NULL
) WITHOUT ROWID, STRICT;

-- What could not be accepted, with its bytes. Bounded: the oldest goes first.
CREATE TABLE quarantine (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    digest BLOB NOT NULL UNIQUE,
    received INTEGER NOT NULL,
    times INTEGER NOT NULL,
    source TEXT NOT NULL,
    code TEXT NOT NULL,
    detail TEXT NOT NULL,
    raw BLOB NOT NULL
) STRICT;

-- Counters of the quarantine.
CREATE TABLE counter (
    name TEXT PRIMARY KEY,
    value INTEGER NOT NULL
) WITHOUT ROWID, STRICT;
