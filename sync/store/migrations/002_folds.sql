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
-- big-endian, or the device name. Body: postcard of src/item.rs.
CREATE TABLE item (
    store INTEGER NOT NULL,
    class INTEGER NOT NULL,
    key BLOB NOT NULL,
    open INTEGER NOT NULL,
    body BLOB NOT NULL,
    PRIMARY KEY (store, class, key)
) WITHOUT ROWID, STRICT;

CREATE INDEX item_open ON item (store, class, key) WHERE open = 1;
