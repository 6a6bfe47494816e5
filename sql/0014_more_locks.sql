-- depends: 0013_locks

CREATE TABLE IF NOT EXISTS recording_lock ();

COMMENT ON TABLE recording_lock IS
    'Always empty. Where campaign_metrics has no unique key, one writer after another '
    'holds a lock on it; UPDATE lets a role do so.';

REVOKE ALL ON recording_lock FROM PUBLIC;
