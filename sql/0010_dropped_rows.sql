-- depends: 0005_quarantine

-- Who decided that a row is never sent, and why; and what is put aside at this moment.

ALTER TABLE campaign_metrics_quarantine
    ADD COLUMN IF NOT EXISTS dropped_at  timestamptz,
    ADD COLUMN IF NOT EXISTS dropped_by  text,
    ADD COLUMN IF NOT EXISTS drop_reason text;

COMMENT ON COLUMN campaign_metrics_quarantine.dropped_at IS
    'When a person decided that the row is never sent; null for a row that is tried '
    'again.';
COMMENT ON COLUMN campaign_metrics_quarantine.dropped_by IS
    'Who decided it.';
COMMENT ON COLUMN campaign_metrics_quarantine.drop_reason IS
    'Why, in that person''s words.';

CREATE OR REPLACE VIEW quarantined_campaign_metrics AS
SELECT
    metric_id, code, message, attempts, first_rejected_at, last_rejected_at,
    next_attempt_at, dropped_at, dropped_by, drop_reason,
    next_attempt_at = 'infinity' AS is_dropped
FROM campaign_metrics_quarantine
WHERE EXISTS (
    SELECT FROM campaign_metrics
    WHERE id = campaign_metrics_quarantine.metric_id AND exported_at IS NULL
);

COMMENT ON VIEW quarantined_campaign_metrics IS
    'Refused rows that Dataverse still lacks. An entry whose row was deleted, or marked '
    'by hand, is not among them.';
