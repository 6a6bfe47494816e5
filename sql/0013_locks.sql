-- depends: 0006_ledger

-- Locks that only a role with the privilege can hold. Any login may hold an advisory
-- lock, and would stop the sync with it. The tables stay empty; only their locks matter.

CREATE TABLE IF NOT EXISTS writer_lock ();

COMMENT ON TABLE writer_lock IS
    'Always empty. The one sync that runs holds a lock on it; UPDATE lets a role do so.';

CREATE TABLE IF NOT EXISTS reconciliation_lock ();

COMMENT ON TABLE reconciliation_lock IS
    'Always empty. The one reconciliation that runs holds a lock on it; UPDATE lets a '
    'role do so.';

REVOKE ALL ON writer_lock, reconciliation_lock FROM PUBLIC;
