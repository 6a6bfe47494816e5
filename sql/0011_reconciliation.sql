-- What comparing rows with records remembers: how far it came, what it found, and which
-- records that another flow made stand for rows of ours.
-- transactional: false
-- depends: 0005_quarantine 0006_ledger

DO $$
DECLARE
    id_type text := (
        SELECT atttypid::regtype FROM pg_attribute
        WHERE attrelid = 'campaign_metrics'::regclass AND attname = 'id'
            AND NOT attisdropped
    );
BEGIN
    -- Of the same type as campaign_metrics.id, or the joins could use no index.
    EXECUTE format(
        'CREATE TABLE IF NOT EXISTS adopted_record (
            metric_id  %s          PRIMARY KEY,
            record_id  uuid        NOT NULL UNIQUE,
            resource   text        NOT NULL,
            adopted_at timestamptz NOT NULL
        )',
        id_type
    );
    EXECUTE format(
        'CREATE TABLE IF NOT EXISTS reconciliation_finding (
            resource       text        NOT NULL,
            metric_id      %s          NOT NULL,
            kind           text        NOT NULL CHECK (kind IN (''missing'', ''different'')),
            columns        text[]      NOT NULL DEFAULT ''{}'',
            exported_at    timestamptz NOT NULL,
            first_found_at timestamptz NOT NULL,
            last_found_at  timestamptz NOT NULL,
            PRIMARY KEY (resource, metric_id)
        )',
        id_type
    );
    EXECUTE format(
        'CREATE TABLE IF NOT EXISTS foreign_record (
            resource       text        NOT NULL,
            record_id      uuid        NOT NULL,
            campaign_id    text        NOT NULL,
            run_id         text        NOT NULL,
            phase          text        NOT NULL,
            created_second bigint,
            candidates     bigint      NOT NULL CHECK (candidates >= 0),
            metric_id      %s,
            is_row_missing boolean     NOT NULL DEFAULT false,
            first_seen_at  timestamptz NOT NULL,
            last_seen_at   timestamptz NOT NULL,
            PRIMARY KEY (resource, record_id)
        )',
        id_type
    );
END
$$;

COMMENT ON TABLE adopted_record IS
    'Records of another flow that stand for rows of ours. Such a row is sent and '
    'compared under the id of its record, never under its own.';
COMMENT ON COLUMN adopted_record.metric_id IS
    'The row, campaign_metrics.id.';
COMMENT ON COLUMN adopted_record.record_id IS
    'The record, apex_campaignmetricsid.';
COMMENT ON COLUMN adopted_record.resource IS
    'Address of the environment that the record was found in.';
COMMENT ON COLUMN adopted_record.adopted_at IS
    'When it was adopted.';

COMMENT ON TABLE reconciliation_finding IS
    'Exported rows whose record is missing or differs, as last seen; some thousands at '
    'most, after which the comparison waits for them to be repaired.';
COMMENT ON COLUMN reconciliation_finding.resource IS
    'Address of the environment.';
COMMENT ON COLUMN reconciliation_finding.metric_id IS
    'The row, campaign_metrics.id.';
COMMENT ON COLUMN reconciliation_finding.kind IS
    'missing: the row is marked, and has no record; different: its record does not hold '
    'what the row holds.';
COMMENT ON COLUMN reconciliation_finding.columns IS
    'Columns of campaign_metrics that differ.';
COMMENT ON COLUMN reconciliation_finding.exported_at IS
    'The row''s mark when it was found so; a repair clears no later one.';
COMMENT ON COLUMN reconciliation_finding.first_found_at IS
    'When it was found first.';
COMMENT ON COLUMN reconciliation_finding.last_found_at IS
    'When it was found last.';

COMMENT ON TABLE foreign_record IS
    'Records that are not the record of any row, as last seen. Of those that match no '
    'row some thousands at most are kept.';
COMMENT ON COLUMN foreign_record.resource IS
    'Address of the environment.';
COMMENT ON COLUMN foreign_record.record_id IS
    'The record, apex_campaignmetricsid.';
COMMENT ON COLUMN foreign_record.campaign_id IS
    'Its campaign, in small letters.';
COMMENT ON COLUMN foreign_record.run_id IS
    'Its run, in small letters.';
COMMENT ON COLUMN foreign_record.phase IS
    'Its phase.';
COMMENT ON COLUMN foreign_record.created_second IS
    'Its time, seconds since the epoch; null if it has none.';
COMMENT ON COLUMN foreign_record.candidates IS
    'Rows of the same campaign, run, phase and time.';
COMMENT ON COLUMN foreign_record.metric_id IS
    'The row, campaign_metrics.id, if there is just one.';
COMMENT ON COLUMN foreign_record.is_row_missing IS
    'Whether that row is marked as exported and has no record of its own.';
COMMENT ON COLUMN foreign_record.first_seen_at IS
    'When it was seen first.';
COMMENT ON COLUMN foreign_record.last_seen_at IS
    'When it was seen last.';

CREATE INDEX IF NOT EXISTS foreign_record_match_idx
    ON foreign_record (resource, run_id, campaign_id, phase, created_second);

CREATE INDEX IF NOT EXISTS foreign_record_metric_id_idx
    ON foreign_record (resource, metric_id);

CREATE TABLE IF NOT EXISTS reconciliation_progress (
    resource              text    PRIMARY KEY,
    tracking_link         text,
    is_tracking           boolean NOT NULL DEFAULT false,
    exported_since        timestamptz,
    pass_is_full          boolean NOT NULL DEFAULT true,
    pass_started_at       timestamptz,
    pass_second           bigint,
    pass_after_id         text,
    pass_rows             bigint  NOT NULL DEFAULT 0 CHECK (pass_rows >= 0),
    last_pass_finished_at timestamptz,
    last_pass_rows        bigint  NOT NULL DEFAULT 0 CHECK (last_pass_rows >= 0)
);

COMMENT ON TABLE reconciliation_progress IS
    'How far the comparison has come in each environment.';
COMMENT ON COLUMN reconciliation_progress.resource IS
    'Address of the environment.';
COMMENT ON COLUMN reconciliation_progress.tracking_link IS
    'Where the next page of changes is: a link that Dataverse gave.';
COMMENT ON COLUMN reconciliation_progress.is_tracking IS
    'Whether the link leads to changes; false while the list that precedes them is read.';
COMMENT ON COLUMN reconciliation_progress.exported_since IS
    'Rows that were marked before this instant have been looked at.';
COMMENT ON COLUMN reconciliation_progress.pass_is_full IS
    'Whether the pass goes on to its end, or a slice further each day.';
COMMENT ON COLUMN reconciliation_progress.pass_started_at IS
    'When the pass that is under way began.';
COMMENT ON COLUMN reconciliation_progress.pass_second IS
    'Where it goes on: created_at, seconds since the epoch; null for the beginning.';
COMMENT ON COLUMN reconciliation_progress.pass_after_id IS
    'Where it goes on within a second that holds very many rows.';
COMMENT ON COLUMN reconciliation_progress.pass_rows IS
    'Rows that it has compared.';
COMMENT ON COLUMN reconciliation_progress.last_pass_finished_at IS
    'When the last pass over all rows came to its end; null if none did.';
COMMENT ON COLUMN reconciliation_progress.last_pass_rows IS
    'Rows that the last pass compared.';

CREATE TABLE IF NOT EXISTS reconciliation_run (
    id                bigint      PRIMARY KEY GENERATED ALWAYS AS IDENTITY,
    resource          text        NOT NULL,
    started_at        timestamptz NOT NULL,
    finished_at       timestamptz,
    status            text        NOT NULL DEFAULT 'running'
        CHECK (status IN ('running', 'success', 'failure', 'interrupted')),
    is_complete       boolean     NOT NULL DEFAULT false,
    rows_compared     bigint      NOT NULL DEFAULT 0 CHECK (rows_compared >= 0),
    changes_read      bigint      NOT NULL DEFAULT 0 CHECK (changes_read >= 0),
    missing           bigint      CHECK (missing >= 0),
    different         bigint      CHECK (different >= 0),
    unknown           bigint      CHECK (unknown >= 0),
    double            bigint      CHECK (double >= 0),
    other_flow        bigint      CHECK (other_flow >= 0),
    ambiguous         bigint      CHECK (ambiguous >= 0),
    repaired          bigint      NOT NULL DEFAULT 0 CHECK (repaired >= 0),
    adopted           bigint      NOT NULL DEFAULT 0 CHECK (adopted >= 0),
    requests          bigint      NOT NULL DEFAULT 0 CHECK (requests >= 0),
    throttled_seconds float8      NOT NULL DEFAULT 0 CHECK (throttled_seconds >= 0),
    host              text        NOT NULL,
    dagster_run_id    text,
    note              text,
    error             text,
    CHECK ((status = 'running') = (finished_at IS NULL))
);

COMMENT ON TABLE reconciliation_run IS
    'One row for each run that compared rows with records.';
COMMENT ON COLUMN reconciliation_run.id IS
    'Number of the run, ascending.';
COMMENT ON COLUMN reconciliation_run.resource IS
    'Address of the environment.';
COMMENT ON COLUMN reconciliation_run.started_at IS
    'When the run began.';
COMMENT ON COLUMN reconciliation_run.finished_at IS
    'When the run ended, or was found to have been interrupted; null while it runs.';
COMMENT ON COLUMN reconciliation_run.status IS
    'running, success, failure, or interrupted: its process ended without a word.';
COMMENT ON COLUMN reconciliation_run.is_complete IS
    'Whether it came to the end of what it was to compare.';
COMMENT ON COLUMN reconciliation_run.rows_compared IS
    'Exported rows that were compared with their records; one that changed, and whose '
    'turn it was on the round, counts twice.';
COMMENT ON COLUMN reconciliation_run.changes_read IS
    'Changed and deleted records that Dataverse told of.';
COMMENT ON COLUMN reconciliation_run.missing IS
    'Rows without their record when the run ended; null if that could not be counted.';
COMMENT ON COLUMN reconciliation_run.different IS
    'Rows whose record differs, when the run ended.';
COMMENT ON COLUMN reconciliation_run.unknown IS
    'Records that no row explains, when the run ended.';
COMMENT ON COLUMN reconciliation_run.double IS
    'Records that hold a row which has its own record, when the run ended.';
COMMENT ON COLUMN reconciliation_run.other_flow IS
    'Records of another flow that could be adopted, when the run ended.';
COMMENT ON COLUMN reconciliation_run.ambiguous IS
    'Records of another flow of which one row has several, or that fit several rows.';
COMMENT ON COLUMN reconciliation_run.repaired IS
    'Rows whose mark the run cleared, for the next sync to send them.';
COMMENT ON COLUMN reconciliation_run.adopted IS
    'Records that the run adopted.';
COMMENT ON COLUMN reconciliation_run.requests IS
    'Requests sent to Dataverse, repeats included.';
COMMENT ON COLUMN reconciliation_run.throttled_seconds IS
    'Time that the run stood still because Dataverse asked for it.';
COMMENT ON COLUMN reconciliation_run.host IS
    'Machine that ran it.';
COMMENT ON COLUMN reconciliation_run.dagster_run_id IS
    'Run in Dagster; null for one that was started without it.';
COMMENT ON COLUMN reconciliation_run.note IS
    'What the run could not do, though it did not fail.';
COMMENT ON COLUMN reconciliation_run.error IS
    'Why the run failed.';

ALTER TABLE dataverse_target ADD COLUMN IF NOT EXISTS records_adopted_at timestamptz;

COMMENT ON COLUMN dataverse_target.records_adopted_at IS
    'When every record of another flow there was adopted, or found to be no row''s; null '
    'if that was not asked for.';

CREATE OR REPLACE VIEW dataverse_finding AS
SELECT
    resource, kind, CAST(metric_id AS text) AS metric_id,
    CAST(NULL AS text) AS record_id, columns, first_found_at
FROM reconciliation_finding
UNION ALL
SELECT
    found.resource,
    CASE
        WHEN found.candidates = 0 THEN 'unknown'
        WHEN found.candidates > 1 THEN 'ambiguous'
        WHEN metric.id IS NULL THEN 'unknown'
        WHEN metric.exported_at IS NOT NULL AND NOT found.is_row_missing THEN 'double'
        WHEN count(*) OVER (PARTITION BY found.resource, found.metric_id) > 1
            THEN 'ambiguous'
        ELSE 'other_flow'
    END AS kind,
    CAST(found.metric_id AS text) AS metric_id,
    CAST(found.record_id AS text) AS record_id,
    CAST('{}' AS text[]) AS columns,
    found.first_seen_at AS first_found_at
FROM foreign_record AS found
LEFT JOIN campaign_metrics AS metric ON metric.id = found.metric_id;

COMMENT ON VIEW dataverse_finding IS
    'Where rows and records do not agree, one line each: missing, different, unknown, '
    'double, other_flow, ambiguous.';

-- The rows that were marked since some instant. Last, because the guard ends the file
-- where the table has such an index under another name.
DO $$
BEGIN
    IF EXISTS (
        SELECT FROM pg_index
        WHERE indrelid = 'campaign_metrics'::regclass AND indisvalid
            AND pg_get_indexdef(indexrelid) ~ ' USING btree \(exported_at\M'
            AND coalesce(pg_get_expr(indpred, indrelid), '(exported_at IS NOT NULL)')
                = '(exported_at IS NOT NULL)'
    ) THEN
        RAISE duplicate_table USING MESSAGE = 'campaign_metrics has such an index';
    END IF;
END
$$;

-- A build that was interrupted leaves an invalid index behind.
DROP INDEX CONCURRENTLY IF EXISTS campaign_metrics_exported_idx;

CREATE INDEX CONCURRENTLY campaign_metrics_exported_idx
    ON campaign_metrics (exported_at)
    WHERE exported_at IS NOT NULL;
