-- depends: 0006_ledger

-- What became of rows that Dataverse acknowledged and that could not be marked.

ALTER TABLE sync_run
    ADD COLUMN IF NOT EXISTS changed integer NOT NULL DEFAULT 0 CHECK (changed >= 0),
    ADD COLUMN IF NOT EXISTS deleted integer NOT NULL DEFAULT 0 CHECK (deleted >= 0),
    ADD COLUMN IF NOT EXISTS locked  integer NOT NULL DEFAULT 0 CHECK (locked >= 0);

COMMENT ON COLUMN sync_run.delivered IS
    'Rows that Dataverse acknowledged, marked in the version that was sent.';
COMMENT ON COLUMN sync_run.changed IS
    'Acknowledged rows that changed while they travelled; they stay pending.';
COMMENT ON COLUMN sync_run.deleted IS
    'Acknowledged rows that were deleted while they travelled; their records stand for '
    'no row, and reconcile lists them.';
COMMENT ON COLUMN sync_run.locked IS
    'Acknowledged rows that another transaction held; they stay pending.';
