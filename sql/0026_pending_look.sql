-- When somebody last looked and found nothing pending.
-- depends: 0025_audit_hashes

CREATE TABLE IF NOT EXISTS pending_look (
    single   boolean     PRIMARY KEY DEFAULT true CHECK (single),
    empty_at timestamptz NOT NULL
);

COMMENT ON TABLE pending_look IS
    'When the schedule or the health watch last found nothing pending. Rows that come '
    'with an old time have waited since then. One row.';
COMMENT ON COLUMN pending_look.single IS
    'Keeps the table to one row.';
COMMENT ON COLUMN pending_look.empty_at IS
    'When nothing was pending.';
