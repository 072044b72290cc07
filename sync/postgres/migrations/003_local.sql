-- What could not be accepted, with its bytes. Bounded: the oldest goes first.
CREATE TABLE quarantine (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    digest bytea NOT NULL UNIQUE,
    received bigint NOT NULL,
    times bigint NOT NULL,
    source text NOT NULL,
    code text NOT NULL,
    detail text NOT NULL,
    bytes bigint NOT NULL,
    raw bytea NOT NULL
);

CREATE TABLE counter (
    name text PRIMARY KEY,
    value bigint NOT NULL
);
INSERT INTO counter (name, value) VALUES ('quarantine-total', 0), ('quarantine-evicted', 0);

-- Written and removed again by the trial that asks whether a full server takes writes again.
CREATE TABLE probe (
    filler bytea NOT NULL
);
ALTER TABLE probe ALTER COLUMN filler SET STORAGE PLAIN;
