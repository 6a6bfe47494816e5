-- The agents' table: made here, or adopted as it is where the agents' own migration
-- has made it. Order and types of an adopted table's columns may differ (text in place
-- of uuid, bigint in place of integer); only a column that is missing is added.

DO $$
BEGIN
    IF to_regclass('campaign_metrics') IS NOT NULL THEN
        RETURN;
    END IF;

    CREATE TABLE campaign_metrics (
        id                uuid          PRIMARY KEY DEFAULT gen_random_uuid(),
        campaign_id       uuid          NOT NULL,
        run_id            uuid          NOT NULL,
        phase             text          NOT NULL DEFAULT '2-3',
        agents_total      integer       NOT NULL,
        agents_successful integer       NOT NULL,
        assets_generated  integer       NOT NULL,
        tokens_in         integer       NOT NULL,
        tokens_out        integer       NOT NULL,
        cost_usd          numeric(10,5) NOT NULL,
        latency_p95_ms    integer       NOT NULL,
        latency_avg_ms    integer       NOT NULL,
        success_rate_pct  numeric(5,2)  NOT NULL,
        exported_at       timestamptz,
        created_at        timestamptz   NOT NULL DEFAULT now()
    );

    COMMENT ON TABLE campaign_metrics IS
        'One row for each run of the agents on a campaign, written by the agents.';
    COMMENT ON COLUMN campaign_metrics.id IS
        'Key of the row, and of its record in Dataverse.';
    COMMENT ON COLUMN campaign_metrics.campaign_id IS
        'Campaign that the run served.';
    COMMENT ON COLUMN campaign_metrics.run_id IS
        'Agent run. Not unique: several rows may share it.';
    COMMENT ON COLUMN campaign_metrics.phase IS
        'Phase of the campaign, such as 2-3.';
    COMMENT ON COLUMN campaign_metrics.agents_total IS
        'Agents started.';
    COMMENT ON COLUMN campaign_metrics.agents_successful IS
        'Agents that finished successfully.';
    COMMENT ON COLUMN campaign_metrics.assets_generated IS
        'Assets generated.';
    COMMENT ON COLUMN campaign_metrics.tokens_in IS
        'Prompt tokens.';
    COMMENT ON COLUMN campaign_metrics.tokens_out IS
        'Completion tokens.';
    COMMENT ON COLUMN campaign_metrics.cost_usd IS
        'Cost of the run, US dollars.';
    COMMENT ON COLUMN campaign_metrics.latency_p95_ms IS
        '95th percentile of the latency of the run''s agents, milliseconds. '
        'Percentiles of several runs do not average.';
    COMMENT ON COLUMN campaign_metrics.latency_avg_ms IS
        'Mean latency of the run''s agents, milliseconds.';
    COMMENT ON COLUMN campaign_metrics.success_rate_pct IS
        'Share of agents that finished successfully, percent from 0 to 100.';
    COMMENT ON COLUMN campaign_metrics.exported_at IS
        'When Dataverse acknowledged the row; null while it is pending.';
    COMMENT ON COLUMN campaign_metrics.created_at IS
        'When the run was recorded.';
END
$$;

DO $$
DECLARE
    id_type text := (
        SELECT atttypid::regtype FROM pg_attribute
        WHERE attrelid = 'campaign_metrics'::regclass AND attname = 'id'
            AND NOT attisdropped
    );
    missing record;
BEGIN
    -- A key of another kind cannot be the key of a record in Dataverse.
    IF id_type IS NULL OR id_type NOT IN ('uuid', 'text', 'character varying') THEN
        RAISE EXCEPTION 'campaign_metrics.id is %; it has to hold UUIDs',
            coalesce(id_type, 'missing');
    END IF;

    FOR missing IN
        SELECT name, definition
        FROM (VALUES
            -- Without default: a measurement that was not taken is not zero. Such a
            -- row is refused for it by name, and waits in quarantine.
            ('campaign_id', 'uuid'),
            ('run_id', 'uuid'),
            ('agents_total', 'integer'),
            ('agents_successful', 'integer'),
            ('assets_generated', 'integer'),
            ('tokens_in', 'integer'),
            ('tokens_out', 'integer'),
            ('cost_usd', 'numeric(10,5)'),
            ('latency_p95_ms', 'integer'),
            ('latency_avg_ms', 'integer'),
            ('success_rate_pct', 'numeric(5,2)'),
            ('exported_at', 'timestamptz'),
            ('created_at', 'timestamptz'),
            -- A constant default is kept in the catalog; no row is rewritten for it.
            ('phase', 'text NOT NULL DEFAULT ''2-3''')
        ) AS wanted (name, definition)
        WHERE NOT EXISTS (
            SELECT FROM pg_attribute
            WHERE attrelid = 'campaign_metrics'::regclass
                AND attname = wanted.name AND NOT attisdropped
        )
    LOOP
        EXECUTE format(
            'ALTER TABLE campaign_metrics ADD COLUMN %I %s',
            missing.name, missing.definition
        );
        IF missing.name = 'created_at' THEN
            ALTER TABLE campaign_metrics ALTER COLUMN created_at SET DEFAULT now();
        END IF;
    END LOOP;
END
$$;
