-- depends: 0001_campaign_metrics

-- What was refused, and the rows whose turn it is.

DO $$
DECLARE
    id_type text := (
        SELECT atttypid::regtype FROM pg_attribute
        WHERE attrelid = 'campaign_metrics'::regclass AND attname = 'id'
            AND NOT attisdropped
    );
BEGIN
    -- Of the same type as campaign_metrics.id, or the join could use no index.
    EXECUTE format(
        'CREATE TABLE IF NOT EXISTS campaign_metrics_quarantine (
            metric_id         %s          PRIMARY KEY,
            code              text        NOT NULL,
            message           text        NOT NULL,
            attempts          integer     NOT NULL CHECK (attempts > 0),
            first_rejected_at timestamptz NOT NULL,
            last_rejected_at  timestamptz NOT NULL,
            next_attempt_at   timestamptz NOT NULL,
            CHECK (first_rejected_at <= last_rejected_at)
        )',
        id_type
    );
END
$$;

COMMENT ON TABLE campaign_metrics_quarantine IS
    'Pending rows that were refused. Each is tried again when it is due, and leaves '
    'when it is delivered.';
COMMENT ON COLUMN campaign_metrics_quarantine.metric_id IS
    'The row, campaign_metrics.id.';
COMMENT ON COLUMN campaign_metrics_quarantine.code IS
    'Dataverse''s error code of the last refusal, or "invalid" for a row that was '
    'refused before it was sent.';
COMMENT ON COLUMN campaign_metrics_quarantine.message IS
    'What was wrong, in the words of the last refusal.';
COMMENT ON COLUMN campaign_metrics_quarantine.attempts IS
    'How often the row was refused.';
COMMENT ON COLUMN campaign_metrics_quarantine.first_rejected_at IS
    'When the row was refused for the first time.';
COMMENT ON COLUMN campaign_metrics_quarantine.last_rejected_at IS
    'When the row was refused for the last time.';
COMMENT ON COLUMN campaign_metrics_quarantine.next_attempt_at IS
    'When the row is tried again; infinity for one that a person has dropped.';

CREATE OR REPLACE VIEW campaign_metrics_pending AS
SELECT
    id, campaign_id, run_id, phase, agents_total, agents_successful, assets_generated,
    tokens_in, tokens_out, cost_usd, latency_p95_ms, latency_avg_ms, success_rate_pct,
    exported_at, created_at
FROM campaign_metrics
WHERE exported_at IS NULL
    AND NOT EXISTS (
        SELECT FROM campaign_metrics_quarantine
        WHERE metric_id = campaign_metrics.id AND next_attempt_at > now()
    );

COMMENT ON VIEW campaign_metrics_pending IS
    'Rows to be delivered to Dataverse: not exported, and not waiting in quarantine. '
    'Whatever their age; to be read by created_at, then id.';

-- Where it exists it is another flow's, and that flow would create every old row again
-- if it were shown more than it is used to.
DO $$
BEGIN
    IF to_regclass('v_campaign_metrics_pending') IS NULL THEN
        CREATE VIEW v_campaign_metrics_pending AS
        SELECT
            id, campaign_id, run_id, phase, agents_total, agents_successful,
            assets_generated, tokens_in, tokens_out, cost_usd, latency_p95_ms,
            latency_avg_ms, success_rate_pct, exported_at, created_at
        FROM campaign_metrics
        WHERE exported_at IS NULL;

        COMMENT ON VIEW v_campaign_metrics_pending IS
            'Rows that are not exported, also those that wait in quarantine.';
    END IF;
END
$$;
