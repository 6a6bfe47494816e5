-- What the pipeline remembers from one run to the next, each run being a new process.

CREATE TABLE IF NOT EXISTS sync_run (
    id                         bigint      PRIMARY KEY GENERATED ALWAYS AS IDENTITY,
    started_at                 timestamptz NOT NULL,
    finished_at                timestamptz,
    status                     text        NOT NULL DEFAULT 'running'
        CHECK (status IN ('running', 'success', 'failure', 'interrupted')),
    rows_read                  integer     NOT NULL DEFAULT 0 CHECK (rows_read >= 0),
    delivered                  integer     NOT NULL DEFAULT 0 CHECK (delivered >= 0),
    rejected                   integer     NOT NULL DEFAULT 0 CHECK (rejected >= 0),
    remaining                  integer     CHECK (remaining >= 0),
    requests                   integer     NOT NULL DEFAULT 0 CHECK (requests >= 0),
    throttled_seconds          float8      NOT NULL DEFAULT 0
        CHECK (throttled_seconds >= 0),
    token_cache_hits           integer     NOT NULL DEFAULT 0
        CHECK (token_cache_hits >= 0),
    token_cache_misses         integer     NOT NULL DEFAULT 0
        CHECK (token_cache_misses >= 0),
    oldest_pending_age_seconds float8,
    host                       text        NOT NULL,
    dagster_run_id             text,
    retry_at                   timestamptz,
    error                      text,
    CHECK ((status = 'running') = (finished_at IS NULL))
);

COMMENT ON TABLE sync_run IS
    'One row for each run of the sync that held the writer lock.';
COMMENT ON COLUMN sync_run.id IS
    'Number of the run, ascending.';
COMMENT ON COLUMN sync_run.started_at IS
    'When the run began.';
COMMENT ON COLUMN sync_run.finished_at IS
    'When the run ended, or was found to have been interrupted; null while it runs.';
COMMENT ON COLUMN sync_run.status IS
    'running, success, failure, or interrupted: its process ended without a word.';
COMMENT ON COLUMN sync_run.rows_read IS
    'Pending rows that the run read.';
COMMENT ON COLUMN sync_run.delivered IS
    'Rows that Dataverse acknowledged.';
COMMENT ON COLUMN sync_run.rejected IS
    'Rows that were refused, and went to the quarantine.';
COMMENT ON COLUMN sync_run.remaining IS
    'Rows that were pending when the run ended; null if it could not count them.';
COMMENT ON COLUMN sync_run.requests IS
    'Requests sent to Dataverse, repeats included.';
COMMENT ON COLUMN sync_run.throttled_seconds IS
    'Time that the run stood still because Dataverse asked for it.';
COMMENT ON COLUMN sync_run.token_cache_hits IS
    'Requests to Dataverse for which a cached access token was used.';
COMMENT ON COLUMN sync_run.token_cache_misses IS
    'Requests to Dataverse for which an access token was fetched first.';
COMMENT ON COLUMN sync_run.oldest_pending_age_seconds IS
    'Age of the oldest row that was pending when the run ended; null if none was.';
COMMENT ON COLUMN sync_run.host IS
    'Machine that ran it.';
COMMENT ON COLUMN sync_run.dagster_run_id IS
    'Run in Dagster; null for one that was started without it.';
COMMENT ON COLUMN sync_run.retry_at IS
    'When Dataverse takes requests again, where it asked for a longer wait than the '
    'run had time for.';
COMMENT ON COLUMN sync_run.error IS
    'Why the run failed.';

CREATE TABLE IF NOT EXISTS dataverse_pacing (
    key        text        PRIMARY KEY,
    state      jsonb       NOT NULL,
    retry_at   timestamptz,
    updated_at timestamptz NOT NULL
);

COMMENT ON TABLE dataverse_pacing IS
    'How much of Dataverse''s service protection limits was used lately. The limits '
    'count over five minutes, which is longer than a run.';
COMMENT ON COLUMN dataverse_pacing.key IS
    'Environment and application that the limits count for.';
COMMENT ON COLUMN dataverse_pacing.state IS
    'Requests and execution time that were used, by time.';
COMMENT ON COLUMN dataverse_pacing.retry_at IS
    'No request before this instant, because Dataverse said so; null for at once.';
COMMENT ON COLUMN dataverse_pacing.updated_at IS
    'When this row was written.';

CREATE TABLE IF NOT EXISTS dataverse_target (
    resource               text PRIMARY KEY,
    first_delivered_at     timestamptz,
    duplicates_accepted_at timestamptz
);

COMMENT ON TABLE dataverse_target IS
    'Dataverse environments that rows were, or may be, delivered to.';
COMMENT ON COLUMN dataverse_target.resource IS
    'Address of the environment.';
COMMENT ON COLUMN dataverse_target.first_delivered_at IS
    'When the first row was delivered there; null if none was.';
COMMENT ON COLUMN dataverse_target.duplicates_accepted_at IS
    'When a person decided to deliver although another flow''s records are there; '
    'null if nobody had to.';
