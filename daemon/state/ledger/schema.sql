-- The ledger of drops, as it is since version 2. Times are nanoseconds since 1970-01-01T00:00:00Z; hashes are BLAKE3.

CREATE TABLE datasets (
    id     INTEGER PRIMARY KEY,
    name   TEXT NOT NULL UNIQUE,
    newest INTEGER                  -- of all rows ever committed: what retention is measured from
) STRICT;

-- One row for each file that was dealt with. Rows are only ever added.
CREATE TABLE drops (
    id           INTEGER PRIMARY KEY,   -- the ingest sequence: of two rows for one time the higher one wins
    dataset      INTEGER NOT NULL REFERENCES datasets (id),
    outcome      TEXT NOT NULL CHECK (outcome IN ('committed', 'duplicate', 'rejected')),
    key          BLOB CHECK (length(key) = 32),                      -- of the content; NULL if it was never read
    path         ANY NOT NULL,                                       -- text, or a blob where it is not UTF-8
    fingerprint  TEXT NOT NULL,
    bytes        INTEGER NOT NULL,
    received     INTEGER NOT NULL,
    duplicate_of INTEGER REFERENCES drops (id),
    reason       TEXT,
    detail       TEXT,
    seen         INTEGER NOT NULL,
    committed    INTEGER NOT NULL,
    duplicate    INTEGER NOT NULL,
    refused      INTEGER NOT NULL,                                   -- the sum over refused_rows
    missing      INTEGER NOT NULL,
    CHECK (seen = committed + duplicate + refused),
    CHECK (committed = 0 OR outcome = 'committed'),
    CHECK ((key IS NOT NULL) OR outcome = 'rejected'),
    CHECK ((duplicate_of IS NOT NULL) = (outcome = 'duplicate')),
    CHECK ((reason IS NOT NULL) = (outcome = 'rejected'))
) STRICT;

-- A content is committed once, and again only where rows of it had been refused that may be welcome now.
CREATE INDEX drops_by_content ON drops (dataset, key) WHERE outcome = 'committed';
CREATE INDEX drops_by_file ON drops (fingerprint);

CREATE TABLE refused_rows (
    drop_id INTEGER NOT NULL REFERENCES drops (id),
    reason  TEXT NOT NULL,
    rows    INTEGER NOT NULL CHECK (rows > 0),
    PRIMARY KEY (drop_id, reason)
) STRICT, WITHOUT ROWID;

-- The live segments. A file that is not named here does not count.
CREATE TABLE segments (
    sequence INTEGER PRIMARY KEY REFERENCES drops (id),   -- the newest drop in it
    dataset  INTEGER NOT NULL REFERENCES datasets (id),
    level    INTEGER NOT NULL,                            -- merges behind it; 255: not merged any more
    file     TEXT NOT NULL,
    rows     INTEGER NOT NULL CHECK (rows > 0),
    bytes    INTEGER NOT NULL,
    oldest   INTEGER NOT NULL,
    newest   INTEGER NOT NULL CHECK (newest >= oldest),
    hash     BLOB NOT NULL CHECK (length(hash) = 32)
) STRICT;

CREATE INDEX segments_by_dataset ON segments (dataset, sequence);

-- What counts against the limit of channels; `newest` may lag behind by an eighth of the retention.
CREATE TABLE channels (
    dataset INTEGER NOT NULL REFERENCES datasets (id),
    name    TEXT NOT NULL,
    newest  INTEGER NOT NULL,
    PRIMARY KEY (dataset, name)
) STRICT, WITHOUT ROWID;

-- Sums over the ledger, kept so that a start need not read all of it.
CREATE TABLE totals (
    dataset INTEGER NOT NULL REFERENCES datasets (id),
    counter TEXT NOT NULL,
    reason  TEXT NOT NULL,
    value   INTEGER NOT NULL,
    PRIMARY KEY (dataset, counter, reason)
) STRICT, WITHOUT ROWID;
