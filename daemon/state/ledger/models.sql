-- Versions of models, since version 3 of the ledger. A version is an artifact under a model's name; its files lie in
-- models/<hash>, for every model that has it.

CREATE TABLE model_versions (
    id          INTEGER PRIMARY KEY,
    model       TEXT NOT NULL,
    hash        BLOB NOT NULL CHECK (length(hash) = 32),
    state       TEXT NOT NULL CHECK (state IN ('candidate', 'shadow', 'active', 'retired', 'refused', 'removed')),
    promotion   INTEGER,                -- its place among the promotions that stand; the active one has the highest
    imported    INTEGER NOT NULL,
    bytes       INTEGER NOT NULL,
    metric      TEXT NOT NULL,          -- by what it was chosen
    validation  REAL,
    test        REAL,
    data        TEXT NOT NULL,          -- what tells its data from others
    description TEXT NOT NULL,          -- model.json, as it was read
    UNIQUE (model, hash),
    CHECK (state <> 'active' OR promotion IS NOT NULL),
    CHECK (promotion IS NULL OR state IN ('active', 'retired'))
) STRICT;

CREATE UNIQUE INDEX one_active_version ON model_versions (model) WHERE state = 'active';
CREATE UNIQUE INDEX one_shadow_version ON model_versions (model) WHERE state = 'shadow';

-- What became of each version, and why. Rows are only ever added.
CREATE TABLE model_transitions (
    id      INTEGER PRIMARY KEY,
    version INTEGER NOT NULL REFERENCES model_versions (id),
    state   TEXT NOT NULL,
    time    INTEGER NOT NULL,
    reason  TEXT NOT NULL
) STRICT;

CREATE INDEX model_transitions_by_version ON model_transitions (version);
