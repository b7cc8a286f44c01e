-- What was said of samples, since version 6 of the ledger: of each the last word, and of which elements. A row stays when
-- the label comes, so that nothing is predicted twice.

CREATE TABLE predictions (
    dataset     INTEGER NOT NULL,
    id          TEXT NOT NULL,
    content     BLOB NOT NULL CHECK (length(content) = 32),       -- of the elements that were looked at
    version     BLOB NOT NULL CHECK (length(version) = 32),       -- of the model
    said        TEXT,                                             -- JSON; NULL: the version has nothing to say of it
    shadow      BLOB CHECK (length(shadow) = 32),
    shadow_said TEXT,
    PRIMARY KEY (dataset, id),
    FOREIGN KEY (dataset, id) REFERENCES samples (dataset, id),
    CHECK ((shadow IS NULL) = (shadow_said IS NULL))
) STRICT, WITHOUT ROWID;
