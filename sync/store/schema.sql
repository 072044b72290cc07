-- The schema of a new ledger. A test proves that it equals the migrations, replayed in order.

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

-- Folds: derived from the events, kept in the same transaction, recomputed by verify.

CREATE TABLE stock (
    store INTEGER NOT NULL,
    sku INTEGER NOT NULL,
    lot TEXT NOT NULL,
    account INTEGER NOT NULL,
    quantity INTEGER NOT NULL,
    PRIMARY KEY (store, sku, lot, account)
) WITHOUT ROWID, STRICT;

CREATE TABLE money (
    store INTEGER NOT NULL,
    day INTEGER NOT NULL,
    currency TEXT NOT NULL,
    account INTEGER NOT NULL,
    amount INTEGER NOT NULL,
    PRIMARY KEY (store, day, currency, account)
) WITHOUT ROWID, STRICT;

-- Events by kind.
CREATE TABLE tally (
    store INTEGER NOT NULL,
    direction INTEGER NOT NULL,
    kind INTEGER NOT NULL,
    count INTEGER NOT NULL,
    PRIMARY KEY (store, direction, kind)
) WITHOUT ROWID, STRICT;

-- Ticket numbers: form 0 sale, 1 return. The first fact with a number is the one that counts.
CREATE TABLE ticket (
    store INTEGER NOT NULL,
    form INTEGER NOT NULL,
    till INTEGER NOT NULL,
    number INTEGER NOT NULL,
    pos INTEGER NOT NULL,
    PRIMARY KEY (store, form, till, number)
) WITHOUT ROWID, STRICT;

-- HQ's price book: highest version wins.
CREATE TABLE article (
    store INTEGER NOT NULL,
    sku INTEGER NOT NULL,
    version INTEGER NOT NULL,
    body BLOB NOT NULL,
    PRIMARY KEY (store, sku)
) WITHOUT ROWID, STRICT;

-- What the tills charge: the newest price change wins.
CREATE TABLE price (
    store INTEGER NOT NULL,
    sku INTEGER NOT NULL,
    price INTEGER NOT NULL,
    version INTEGER NOT NULL,
    epoch INTEGER NOT NULL,
    seq INTEGER NOT NULL,
    PRIMARY KEY (store, sku)
) WITHOUT ROWID, STRICT;

-- Alarms (class 1), batches (2), reservations (3), tags (4), devices (5). Key: epoch and seq of the naming fact,
-- big-endian, or the device name. Body: postcard of src/item.rs. At most one row per event of the log, and kept as long
-- as the log: verify recomputes every row from it.
CREATE TABLE item (
    store INTEGER NOT NULL,
    class INTEGER NOT NULL,
    key BLOB NOT NULL,
    open INTEGER NOT NULL,
    body BLOB NOT NULL,
    PRIMARY KEY (store, class, key)
) WITHOUT ROWID, STRICT;

CREATE INDEX item_open ON item (store, class, key) WHERE open = 1;

-- What belongs to this file alone and is not settled.

-- Answers already given, by idempotency key. Bounded: see Draft::forget_answers.
CREATE TABLE answer (
    key TEXT PRIMARY KEY,
    digest BLOB NOT NULL,
    pos INTEGER NOT NULL
) WITHOUT ROWID, STRICT;

CREATE INDEX answer_pos ON answer (pos);

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

-- The newest signature of a log's writer: over the chain link at a position, so it vouches for every record up to it. One
-- row per log at most; bytes signed: WIRE.md, section 6.1.
CREATE TABLE signed_end (
    log INTEGER PRIMARY KEY,
    seq INTEGER NOT NULL,
    link BLOB NOT NULL,
    signature BLOB NOT NULL
) STRICT;
