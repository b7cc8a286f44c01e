-- Trainings by the daemon itself, since version 5 of the ledger: each is entered before it begins, and again when it has
-- ended. One that has not ended is gone on with after a restart; its run lies in trainings/<id>.

CREATE TABLE trainings (
    id       INTEGER PRIMARY KEY AUTOINCREMENT,     -- never given twice: it names a folder
    model    TEXT NOT NULL,
    dataset  TEXT NOT NULL,
    reason   TEXT NOT NULL,
    words    TEXT NOT NULL,                         -- the reason with its figures
    through  INTEGER NOT NULL,                      -- the last drop whose samples were taken
    labelled INTEGER NOT NULL,                      -- samples with a label that was
    searches INTEGER NOT NULL CHECK (searches IN (0, 1)),
    searched INTEGER NOT NULL,                      -- samples with a label when kernels were last searched for
    begun    INTEGER NOT NULL,
    ended    INTEGER,
    version  BLOB CHECK (length(version) = 32),     -- what came of it
    fault    TEXT,                                  -- or why nothing did
    detail   TEXT,
    CHECK ((ended IS NULL) = (version IS NULL AND fault IS NULL)),
    CHECK (version IS NULL OR fault IS NULL),
    CHECK ((fault IS NULL) = (detail IS NULL))
) STRICT;

CREATE INDEX trainings_by_model ON trainings (model, id);
