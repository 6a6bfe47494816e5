-- Acts on incidents whose event has to reach the audit trail, which is in another database.

CREATE TABLE IF NOT EXISTS apex_alerts.unaudited (
    act        uuid        PRIMARY KEY,
    location   text        NOT NULL,
    event      jsonb       NOT NULL,
    created_at timestamptz NOT NULL
);

COMMENT ON TABLE apex_alerts.unaudited IS
    'Events that wait for the audit trail, written together with the act itself.';
COMMENT ON COLUMN apex_alerts.unaudited.act IS
    'The act; the trail takes it once, however often it is sent.';
COMMENT ON COLUMN apex_alerts.unaudited.location IS
    'Dagster code location whose metrics database has the trail.';
COMMENT ON COLUMN apex_alerts.unaudited.event IS
    'What the event says.';
COMMENT ON COLUMN apex_alerts.unaudited.created_at IS
    'When the act was done.';

-- The trail's daily anchor is one more kind of notice.
ALTER TABLE apex_alerts.outbox DROP CONSTRAINT IF EXISTS outbox_kind_check;
ALTER TABLE apex_alerts.outbox ADD CONSTRAINT outbox_kind_check
CHECK (kind IN ('opened', 'reminded', 'resolved', 'test', 'anchor'));
