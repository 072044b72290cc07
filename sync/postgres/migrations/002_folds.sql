-- Folds: derived from the events, kept in the same transaction. Tables and columns are those of sync-store's FOLD_TABLES.
CREATE TABLE stock (
    store bigint NOT NULL,
    sku bigint NOT NULL,
    lot text COLLATE "C" NOT NULL,
    account bigint NOT NULL,
    quantity bigint NOT NULL,
    PRIMARY KEY (store, sku, lot, account)
) WITH (fillfactor = 70);

CREATE TABLE money (
    store bigint NOT NULL,
    day bigint NOT NULL,
    currency text COLLATE "C" NOT NULL,
    account bigint NOT NULL,
    amount bigint NOT NULL,
    PRIMARY KEY (store, day, currency, account)
) WITH (fillfactor = 70);

CREATE TABLE tally (
    store bigint NOT NULL,
    direction bigint NOT NULL,
    kind bigint NOT NULL,
    count bigint NOT NULL,
    PRIMARY KEY (store, direction, kind)
) WITH (fillfactor = 70);

-- Grows with every sale, like the events.
CREATE TABLE ticket (
    store bigint NOT NULL,
    form bigint NOT NULL,
    till bigint NOT NULL,
    number bigint NOT NULL,
    pos bigint NOT NULL,
    bucket smallint NOT NULL,
    PRIMARY KEY (bucket, store, form, till, number)
) PARTITION BY LIST (bucket);

CREATE TABLE article (
    store bigint NOT NULL,
    sku bigint NOT NULL,
    version bigint NOT NULL,
    body bytea NOT NULL,
    PRIMARY KEY (store, sku)
);

CREATE TABLE price (
    store bigint NOT NULL,
    sku bigint NOT NULL,
    price bigint NOT NULL,
    version bigint NOT NULL,
    epoch bigint NOT NULL,
    seq bigint NOT NULL,
    PRIMARY KEY (store, sku)
);

CREATE TABLE item (
    store bigint NOT NULL,
    class bigint NOT NULL,
    key bytea NOT NULL,
    open boolean NOT NULL,
    body bytea NOT NULL,
    PRIMARY KEY (store, class, key)
);

DO $$
BEGIN
    FOR bucket IN 0..63 LOOP
        EXECUTE format('CREATE TABLE event_%s PARTITION OF event FOR VALUES IN (%s)', to_char(bucket, 'FM00'), bucket);
        EXECUTE format('CREATE TABLE ticket_%s PARTITION OF ticket FOR VALUES IN (%s)', to_char(bucket, 'FM00'), bucket);
    END LOOP;
END $$;
