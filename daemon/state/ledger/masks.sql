-- Masks, and when and where samples were taken, since version 7 of the ledger. True masks lie in segments; what was said of
-- positions is kept here, in runs, to be held against them.

ALTER TABLE samples ADD COLUMN time INTEGER;               -- nanoseconds since 1970-01-01T00:00:00Z
ALTER TABLE samples ADD COLUMN latitude REAL CHECK (latitude BETWEEN -90 AND 90);
ALTER TABLE samples ADD COLUMN longitude REAL
    CHECK (longitude BETWEEN -180 AND 180) CHECK ((longitude IS NULL) = (latitude IS NULL));

ALTER TABLE predictions ADD COLUMN mask BLOB CHECK (mask IS NULL OR said IS NOT NULL);
ALTER TABLE predictions ADD COLUMN shadow_mask BLOB CHECK (shadow_mask IS NULL OR shadow_said IS NOT NULL);
