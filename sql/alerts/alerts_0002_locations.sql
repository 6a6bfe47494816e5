-- Several code locations share one Dagster instance, and each has a team of its own.
-- What was written before belongs to the only name that there was.

ALTER TABLE apex_alerts.incident
    ADD COLUMN IF NOT EXISTS location text NOT NULL DEFAULT 'apex_pipeline';
ALTER TABLE apex_alerts.incident ALTER COLUMN location DROP DEFAULT;
ALTER TABLE apex_alerts.incident DROP CONSTRAINT IF EXISTS incident_pkey;
ALTER TABLE apex_alerts.incident ADD PRIMARY KEY (location, fingerprint, opened_at);
DROP INDEX IF EXISTS apex_alerts.incident_open_idx;
CREATE UNIQUE INDEX incident_open_idx
ON apex_alerts.incident (location, fingerprint) WHERE resolved_at IS NULL;

COMMENT ON COLUMN apex_alerts.incident.location IS
    'Dagster code location that it concerns.';

ALTER TABLE apex_alerts.outbox
    ADD COLUMN IF NOT EXISTS location text NOT NULL DEFAULT 'apex_pipeline';
ALTER TABLE apex_alerts.outbox ALTER COLUMN location DROP DEFAULT;
ALTER TABLE apex_alerts.outbox DROP CONSTRAINT IF EXISTS outbox_key_channel_key;
ALTER TABLE apex_alerts.outbox DROP CONSTRAINT IF EXISTS outbox_location_key_channel_key;
ALTER TABLE apex_alerts.outbox ADD UNIQUE (location, key, channel);
DROP INDEX IF EXISTS apex_alerts.outbox_waiting_idx;
CREATE INDEX outbox_waiting_idx
ON apex_alerts.outbox (location, channel, id)
WHERE delivered_at IS NULL AND given_up_at IS NULL;

COMMENT ON COLUMN apex_alerts.outbox.location IS
    'Dagster code location whose channels send it.';

ALTER TABLE apex_alerts.silence
    ADD COLUMN IF NOT EXISTS location text NOT NULL DEFAULT 'apex_pipeline';
ALTER TABLE apex_alerts.silence ALTER COLUMN location DROP DEFAULT;
ALTER TABLE apex_alerts.silence DROP CONSTRAINT IF EXISTS silence_pkey;
ALTER TABLE apex_alerts.silence ADD PRIMARY KEY (location, fingerprint);

COMMENT ON COLUMN apex_alerts.silence.location IS
    'Dagster code location whose incidents it silences.';

ALTER TABLE apex_alerts.progress
    ADD COLUMN IF NOT EXISTS location text NOT NULL DEFAULT 'apex_pipeline';
ALTER TABLE apex_alerts.progress ALTER COLUMN location DROP DEFAULT;
ALTER TABLE apex_alerts.progress DROP CONSTRAINT IF EXISTS progress_pkey;
ALTER TABLE apex_alerts.progress ADD PRIMARY KEY (location, name);

COMMENT ON COLUMN apex_alerts.progress.location IS
    'Dagster code location of the watcher.';
