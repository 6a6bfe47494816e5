-- For history and rollups, which read by time.
-- transactional: false
-- depends: 0001_campaign_metrics

DO $$
BEGIN
    IF EXISTS (
        SELECT FROM pg_index
        WHERE indrelid = 'campaign_metrics'::regclass AND indisvalid
            AND indpred IS NULL
            AND pg_get_indexdef(indexrelid) ~ ' USING btree \(created_at\M'
    ) THEN
        RAISE duplicate_table USING MESSAGE = 'campaign_metrics has such an index';
    END IF;
END
$$;

-- A build that was interrupted leaves an invalid index behind.
DROP INDEX CONCURRENTLY IF EXISTS campaign_metrics_created_at_idx;

CREATE INDEX CONCURRENTLY campaign_metrics_created_at_idx
    ON campaign_metrics (created_at);
