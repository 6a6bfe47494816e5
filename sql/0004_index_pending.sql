-- The pending rows in their order, however many are exported.
-- transactional: false
-- depends: 0001_campaign_metrics

DO $$
BEGIN
    IF EXISTS (
        SELECT FROM pg_index
        WHERE indrelid = 'campaign_metrics'::regclass AND indisvalid
            AND pg_get_expr(indpred, indrelid) = '(exported_at IS NULL)'
            AND pg_get_indexdef(indexrelid) ~ ' USING btree \((created_at, id|created_at DESC, id DESC)[,)]'
    ) THEN
        RAISE duplicate_table USING MESSAGE = 'campaign_metrics has such an index';
    END IF;
END
$$;

-- A build that was interrupted leaves an invalid index behind.
DROP INDEX CONCURRENTLY IF EXISTS campaign_metrics_pending_idx;

CREATE INDEX CONCURRENTLY campaign_metrics_pending_idx
    ON campaign_metrics (created_at, id)
    WHERE exported_at IS NULL;
