-- Samples of tiles and sequences, since version 4 of the ledger: what counts for each id. The elements lie in segments.

CREATE TABLE samples (
    dataset  INTEGER NOT NULL REFERENCES datasets (id),
    id       TEXT NOT NULL,
    sequence INTEGER NOT NULL REFERENCES segments (sequence),
    row      INTEGER NOT NULL,
    split    INTEGER NOT NULL CHECK (split BETWEEN 0 AND 2),
    label    TEXT,                                             -- JSON
    content  BLOB NOT NULL CHECK (length(content) = 32),       -- of the elements
    PRIMARY KEY (dataset, id)
) STRICT, WITHOUT ROWID;
