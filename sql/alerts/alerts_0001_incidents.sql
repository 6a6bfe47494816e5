-- What is wrong, and who has been told of it. Beside Dagster's storage, so that it works
-- while the database that it speaks of does not.

CREATE SCHEMA IF NOT EXISTS apex_alerts;

COMMENT ON SCHEMA apex_alerts IS
    'Incidents of apex_pipeline, and the notices of them. Nothing of Dagster''s.';

CREATE TABLE IF NOT EXISTS apex_alerts.incident (
    fingerprint text        NOT NULL,
    opened_at   timestamptz NOT NULL,
    resolved_at timestamptz,
    severity    text        NOT NULL CHECK (severity IN ('error', 'warning')),
    title       text        NOT NULL,
    cause       text        NOT NULL,
    cause_key   text        NOT NULL,
    remedy      text        NOT NULL CHECK (remedy <> ''),
    facts       jsonb       NOT NULL,
    link        text,
    inhibits    text[]      NOT NULL,
    is_repeated boolean     NOT NULL,
    count       integer     NOT NULL CHECK (count > 0),
    seen_at     timestamptz NOT NULL,
    well_since  timestamptz,
    held_until  timestamptz,
    told_at     timestamptz,
    told_cause  text        NOT NULL,
    notices     integer     NOT NULL CHECK (notices >= 0),
    PRIMARY KEY (fingerprint, opened_at),
    CHECK (opened_at <= resolved_at),
    CHECK ((told_at IS NULL) = (notices = 0))
);

COMMENT ON TABLE apex_alerts.incident IS
    'One row for each time that something was found to be wrong, until it was well again.';
COMMENT ON COLUMN apex_alerts.incident.fingerprint IS
    'What is wrong: the rule, and what it was found at, such as run-failed/JOB.';
COMMENT ON COLUMN apex_alerts.incident.opened_at IS
    'When it was found.';
COMMENT ON COLUMN apex_alerts.incident.resolved_at IS
    'When it was well again; null while it is not.';
COMMENT ON COLUMN apex_alerts.incident.severity IS
    'error: nothing, or not everything, gets through; warning: it will come to that.';
COMMENT ON COLUMN apex_alerts.incident.title IS
    'What is wrong, in one line.';
COMMENT ON COLUMN apex_alerts.incident.cause IS
    'The message of the fault, as it was seen last.';
COMMENT ON COLUMN apex_alerts.incident.cause_key IS
    'The cause without what differs each time; people are told when it becomes another.';
COMMENT ON COLUMN apex_alerts.incident.remedy IS
    'What to do.';
COMMENT ON COLUMN apex_alerts.incident.facts IS
    'Names and values to show beside it, as an array of pairs.';
COMMENT ON COLUMN apex_alerts.incident.link IS
    'Page in the Dagster UI; null where there is none.';
COMMENT ON COLUMN apex_alerts.incident.inhibits IS
    'Rules and fingerprints that only follow from it, and of which nobody is told.';
COMMENT ON COLUMN apex_alerts.incident.is_repeated IS
    'Whether people are reminded every four hours.';
COMMENT ON COLUMN apex_alerts.incident.count IS
    'How often it was found: for a run or a process, how often it failed.';
COMMENT ON COLUMN apex_alerts.incident.seen_at IS
    'When it was found for the last time.';
COMMENT ON COLUMN apex_alerts.incident.well_since IS
    'Since when it is well, of one that came and went too often to call it resolved yet.';
COMMENT ON COLUMN apex_alerts.incident.held_until IS
    'Nobody is told before this instant, because it may go away with its root cause.';
COMMENT ON COLUMN apex_alerts.incident.told_at IS
    'When the last notice was written; null if nobody was told.';
COMMENT ON COLUMN apex_alerts.incident.told_cause IS
    'The cause_key that people were told last; empty if they were told none.';
COMMENT ON COLUMN apex_alerts.incident.notices IS
    'How many notices were written.';

-- One incident at a time for each thing that can be wrong.
CREATE UNIQUE INDEX IF NOT EXISTS incident_open_idx
ON apex_alerts.incident (fingerprint) WHERE resolved_at IS NULL;

CREATE TABLE IF NOT EXISTS apex_alerts.outbox (
    id              bigint      PRIMARY KEY GENERATED ALWAYS AS IDENTITY,
    key             text        NOT NULL,
    channel         text        NOT NULL,
    incident        text        NOT NULL,
    kind            text        NOT NULL
        CHECK (kind IN ('opened', 'reminded', 'resolved', 'test')),
    severity        text        NOT NULL CHECK (severity IN ('error', 'warning')),
    title           text        NOT NULL,
    cause           text        NOT NULL,
    remedy          text        NOT NULL,
    facts           jsonb       NOT NULL,
    link            text,
    at              timestamptz NOT NULL,
    attempts        integer     NOT NULL DEFAULT 0 CHECK (attempts >= 0),
    next_attempt_at timestamptz NOT NULL,
    delivered_at    timestamptz,
    given_up_at     timestamptz,
    error           text,
    UNIQUE (key, channel),
    CHECK (delivered_at IS NULL OR given_up_at IS NULL)
);

COMMENT ON TABLE apex_alerts.outbox IS
    'One row for each notice and channel, written together with the incident.';
COMMENT ON COLUMN apex_alerts.outbox.id IS
    'Ascending: notices of one incident go out in this order.';
COMMENT ON COLUMN apex_alerts.outbox.key IS
    'The notice; the same key is the same message, sent again.';
COMMENT ON COLUMN apex_alerts.outbox.channel IS
    'Way to people, such as teams.';
COMMENT ON COLUMN apex_alerts.outbox.incident IS
    'Fingerprint of the incident; empty for a test.';
COMMENT ON COLUMN apex_alerts.outbox.kind IS
    'Why it is sent.';
COMMENT ON COLUMN apex_alerts.outbox.severity IS
    'That of the incident.';
COMMENT ON COLUMN apex_alerts.outbox.title IS
    'What is wrong, or well again.';
COMMENT ON COLUMN apex_alerts.outbox.cause IS
    'The message of the fault.';
COMMENT ON COLUMN apex_alerts.outbox.remedy IS
    'What to do; empty where nothing has to be done.';
COMMENT ON COLUMN apex_alerts.outbox.facts IS
    'Names and values to show beside it, as an array of pairs.';
COMMENT ON COLUMN apex_alerts.outbox.link IS
    'Page in the Dagster UI; null where there is none.';
COMMENT ON COLUMN apex_alerts.outbox.at IS
    'When it came to be known.';
COMMENT ON COLUMN apex_alerts.outbox.attempts IS
    'How often the channel was given it, the attempt under way included.';
COMMENT ON COLUMN apex_alerts.outbox.next_attempt_at IS
    'When it is due; while it is being sent, when whoever sends it is taken for dead.';
COMMENT ON COLUMN apex_alerts.outbox.delivered_at IS
    'When the channel took it; null while it did not.';
COMMENT ON COLUMN apex_alerts.outbox.given_up_at IS
    'When it was too old to be of use to anybody; null while it is not.';
COMMENT ON COLUMN apex_alerts.outbox.error IS
    'Why the last attempt failed.';

CREATE INDEX IF NOT EXISTS outbox_waiting_idx
ON apex_alerts.outbox (channel, id)
WHERE delivered_at IS NULL AND given_up_at IS NULL;

CREATE TABLE IF NOT EXISTS apex_alerts.silence (
    fingerprint text        PRIMARY KEY,
    until       timestamptz NOT NULL,
    reason      text        NOT NULL,
    created_at  timestamptz NOT NULL
);

COMMENT ON TABLE apex_alerts.silence IS
    'Incidents that people do not want to hear of for a while.';
COMMENT ON COLUMN apex_alerts.silence.fingerprint IS
    'One incident, or the rule that all of them begin with.';
COMMENT ON COLUMN apex_alerts.silence.until IS
    'Its end. What is still wrong then is told.';
COMMENT ON COLUMN apex_alerts.silence.reason IS
    'Why, in the words of whoever did it; may be empty.';
COMMENT ON COLUMN apex_alerts.silence.created_at IS
    'When it was set.';

CREATE TABLE IF NOT EXISTS apex_alerts.progress (
    name       text        PRIMARY KEY,
    state      jsonb       NOT NULL,
    updated_at timestamptz NOT NULL
);

COMMENT ON TABLE apex_alerts.progress IS
    'How far each watcher has come, written together with what it found.';
COMMENT ON COLUMN apex_alerts.progress.name IS
    'The watcher.';
COMMENT ON COLUMN apex_alerts.progress.state IS
    'What it has to know the next time.';
COMMENT ON COLUMN apex_alerts.progress.updated_at IS
    'When it was at work last.';
