-- depends: 0011_reconciliation 0012_marks

-- Who did what: a chain of events in which no event can be changed without a trace.

CREATE TABLE IF NOT EXISTS audit_event (
    sequence      bigint      PRIMARY KEY CHECK (sequence > 0),
    act           uuid        NOT NULL UNIQUE,
    at            timestamptz NOT NULL,
    actor         text        NOT NULL CHECK (actor <> ''),
    action        text        NOT NULL CHECK (action IN (
        'accept_duplicates', 'adopt', 'allow_delivery', 'anchor', 'change_settings', 'drop',
        'export', 'name_campaigns', 'provision', 'prune', 'purge', 'record', 'release',
        'repair', 'resend', 'silence', 'sync'
    )),
    outcome       text        NOT NULL
        CHECK (outcome IN ('done', 'failed', 'interrupted')),
    subject       jsonb       NOT NULL CHECK (jsonb_typeof(subject) = 'object'),
    counts        jsonb       NOT NULL CHECK (jsonb_typeof(counts) = 'object'),
    before        jsonb       NOT NULL CHECK (jsonb_typeof(before) = 'object'),
    after         jsonb       NOT NULL CHECK (jsonb_typeof(after) = 'object'),
    reason        text,
    run_id        text,
    version       text        NOT NULL,
    previous_hash bytea       NOT NULL CHECK (octet_length(previous_hash) = 32),
    hash          bytea       NOT NULL CHECK (octet_length(hash) = 32)
);

COMMENT ON TABLE audit_event IS
    'The audit trail: one row for each act of an operator or a job. Append only; each '
    'hash covers the one before it. `apex audit verify` checks all of them.';
COMMENT ON COLUMN audit_event.sequence IS
    'Position in the trail: 1, 2, 3 and so on, without gaps.';
COMMENT ON COLUMN audit_event.act IS
    'Identifies the act, so that a repeated transaction leaves one event.';
COMMENT ON COLUMN audit_event.at IS
    'When the event was written, by the clock of this server.';
COMMENT ON COLUMN audit_event.actor IS
    'Who acted: APEX_ACTOR, user@host, a schedule, a sensor, or the fingerprint of a '
    'token or session of the panel.';
COMMENT ON COLUMN audit_event.action IS
    'What was done; one of a closed list.';
COMMENT ON COLUMN audit_event.outcome IS
    'done; failed: it ended with an error and may have had part of its effect; '
    'interrupted: its process ended without reporting a result.';
COMMENT ON COLUMN audit_event.subject IS
    'What it was done to: row ids, incident, table, days, file.';
COMMENT ON COLUMN audit_event.counts IS
    'How much: whole numbers by name.';
COMMENT ON COLUMN audit_event.before IS
    'Values before the act, by name; a setting by its fingerprint.';
COMMENT ON COLUMN audit_event.after IS
    'Values after the act, by name; a setting by its fingerprint.';
COMMENT ON COLUMN audit_event.reason IS
    'Why, in the words of the one who acted.';
COMMENT ON COLUMN audit_event.run_id IS
    'Run in Dagster; null outside a run.';
COMMENT ON COLUMN audit_event.version IS
    'Version of apex_pipeline that wrote the event.';
COMMENT ON COLUMN audit_event.previous_hash IS
    'The hash of the event before it; zeros for the first.';
COMMENT ON COLUMN audit_event.hash IS
    'SHA-256 of the canonical JSON (RFC 8785) of all other columns.';

-- Few events are of these kinds, and they are looked for among all others.
CREATE INDEX IF NOT EXISTS audit_event_landmark_idx
ON audit_event (action, sequence)
WHERE action IN ('anchor', 'change_settings', 'provision', 'prune');

CREATE TABLE IF NOT EXISTS audit_anchor (
    sequence     bigint      PRIMARY KEY,
    hash         bytea       NOT NULL CHECK (octet_length(hash) = 32),
    anchored_at  timestamptz NOT NULL,
    authority    text,
    time_stamp   bytea,
    CHECK ((authority IS NULL) = (time_stamp IS NULL))
);

COMMENT ON TABLE audit_anchor IS
    'Heads of the audit trail that were also stored elsewhere. Append only.';
COMMENT ON COLUMN audit_anchor.sequence IS
    'The last event that the anchor covers.';
COMMENT ON COLUMN audit_anchor.hash IS
    'The hash of that event.';
COMMENT ON COLUMN audit_anchor.anchored_at IS
    'When the anchor was made, by the clock of this server.';
COMMENT ON COLUMN audit_anchor.authority IS
    'Address of the time-stamp authority; null if none was asked.';
COMMENT ON COLUMN audit_anchor.time_stamp IS
    'Its answer (RFC 3161, DER): a signed time stamp of the hash.';

CREATE TABLE IF NOT EXISTS audit_intent (
    act      uuid        PRIMARY KEY,
    event    jsonb       NOT NULL,
    begun_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    ends_by  timestamptz NOT NULL
);

COMMENT ON TABLE audit_intent IS
    'Acts outside this database that have begun: each becomes an event when it ends, or '
    'when its time is over.';
COMMENT ON COLUMN audit_intent.act IS
    'The act, as in audit_event.';
COMMENT ON COLUMN audit_intent.event IS
    'What will be written about it.';
COMMENT ON COLUMN audit_intent.begun_at IS
    'When it was written down, before the act itself.';
COMMENT ON COLUMN audit_intent.ends_by IS
    'When its process counts as dead, and the act as interrupted.';

CREATE TABLE IF NOT EXISTS audit_verification (
    id          bigint      PRIMARY KEY GENERATED ALWAYS AS IDENTITY,
    verified_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    events      bigint      NOT NULL,
    anchors     bigint      NOT NULL,
    problems    text[]      NOT NULL
);

COMMENT ON TABLE audit_verification IS
    'Results of verifying the audit trail; monitoring reads the last one.';
COMMENT ON COLUMN audit_verification.id IS
    'Number of the verification, ascending.';
COMMENT ON COLUMN audit_verification.verified_at IS
    'When it ended.';
COMMENT ON COLUMN audit_verification.events IS
    'Events that were checked.';
COMMENT ON COLUMN audit_verification.anchors IS
    'Anchors that were checked.';
COMMENT ON COLUMN audit_verification.problems IS
    'What was wrong; empty if nothing was.';

CREATE TABLE IF NOT EXISTS audit_lock ();

COMMENT ON TABLE audit_lock IS
    'Always empty. The one transaction that appends an event holds a lock on it; UPDATE '
    'lets a role do so.';

-- Appends an event in one round trip, so that the lock is short. In READ COMMITTED, each
-- statement sees what was committed while the lock was waited for. The writer encodes the
-- canonical JSON; its parts leave room for the three values that only the trail knows.
CREATE OR REPLACE FUNCTION audit_append(
    this_act uuid, this_actor text, this_action text, this_outcome text,
    this_subject jsonb, these_counts jsonb, this_before jsonb, this_after jsonb,
    this_reason text, this_run_id text, this_version text, parts text[]
) RETURNS bigint LANGUAGE plpgsql AS $$
DECLARE
    head record;
    next_sequence bigint;
    previous bytea;
    now_text text;
BEGIN
    LOCK TABLE audit_lock IN SHARE ROW EXCLUSIVE MODE;
    SELECT sequence INTO next_sequence FROM audit_event WHERE act = this_act;
    IF FOUND THEN
        RETURN next_sequence;
    END IF;
    SELECT sequence, hash INTO head FROM audit_event ORDER BY sequence DESC LIMIT 1;
    next_sequence := coalesce(head.sequence, 0) + 1;
    previous := coalesce(head.hash, decode(repeat('00', 32), 'hex'));
    now_text := (to_json(clock_timestamp() AT TIME ZONE 'UTC') #>> '{}') || 'Z';
    INSERT INTO audit_event (
        sequence, act, at, actor, action, outcome, subject, counts, before, after, reason,
        run_id, version, previous_hash, hash
    )
    VALUES (
        next_sequence, this_act, now_text::timestamptz, this_actor, this_action,
        this_outcome, this_subject, these_counts, this_before, this_after, this_reason,
        this_run_id, this_version, previous,
        sha256(convert_to(
            parts[1] || now_text || parts[2] || encode(previous, 'hex') || parts[3]
                || next_sequence || parts[4],
            'UTF8'
        ))
    );
    RETURN next_sequence;
END
$$;

CREATE OR REPLACE FUNCTION audit_event_extends_the_chain() RETURNS trigger
LANGUAGE plpgsql AS $$
DECLARE
    head record;
BEGIN
    SELECT sequence, hash INTO head FROM audit_event ORDER BY sequence DESC LIMIT 1;
    IF NEW.sequence <> coalesce(head.sequence, 0) + 1
        OR NEW.previous_hash <> coalesce(head.hash, decode(repeat('00', 32), 'hex'))
    THEN
        -- Two writers without the lock, or an old snapshot: the transaction is repeated.
        RAISE serialization_failure USING MESSAGE =
            format('event %s does not follow the head of the audit trail', NEW.sequence);
    END IF;
    RETURN NEW;
END
$$;

CREATE OR REPLACE TRIGGER audit_event_extends_the_chain
BEFORE INSERT ON audit_event
FOR EACH ROW EXECUTE FUNCTION audit_event_extends_the_chain();

CREATE OR REPLACE FUNCTION audit_is_append_only() RETURNS trigger
LANGUAGE plpgsql AS $$
BEGIN
    RAISE insufficient_privilege USING MESSAGE =
        format('%s is append only: %s is not possible', TG_TABLE_NAME, TG_OP);
END
$$;

-- Only what a pruning event covers may go.
CREATE OR REPLACE FUNCTION audit_event_is_pruned() RETURNS trigger
LANGUAGE plpgsql AS $$
BEGIN
    IF (SELECT max(sequence) FROM gone) > coalesce((
        SELECT max((subject ->> 'through')::bigint) FROM audit_event
        WHERE action = 'prune'
    ), 0) THEN
        RAISE insufficient_privilege USING MESSAGE =
            'audit_event is append only: no pruning event covers the deleted events';
    END IF;
    RETURN NULL;
END
$$;

CREATE OR REPLACE TRIGGER audit_event_is_append_only
BEFORE UPDATE OR TRUNCATE ON audit_event
FOR EACH STATEMENT EXECUTE FUNCTION audit_is_append_only();

CREATE OR REPLACE TRIGGER audit_event_is_pruned
AFTER DELETE ON audit_event
REFERENCING OLD TABLE AS gone
FOR EACH STATEMENT EXECUTE FUNCTION audit_event_is_pruned();

CREATE OR REPLACE TRIGGER audit_anchor_is_append_only
BEFORE UPDATE OR DELETE OR TRUNCATE ON audit_anchor
FOR EACH STATEMENT EXECUTE FUNCTION audit_is_append_only();

REVOKE ALL ON audit_event, audit_anchor, audit_intent, audit_verification, audit_lock
FROM PUBLIC;
-- The owner, who may be the pipeline's own role, gives up what nothing here needs; what
-- prunes grants itself DELETE for that one transaction.
REVOKE UPDATE, DELETE, TRUNCATE ON audit_event, audit_anchor FROM CURRENT_USER;

ALTER TABLE sync_run
    ADD COLUMN IF NOT EXISTS actor text,
    ADD COLUMN IF NOT EXISTS slice text;

COMMENT ON COLUMN sync_run.actor IS
    'Who started it, as in audit_event; null for runs before the audit trail.';
COMMENT ON COLUMN sync_run.slice IS
    'The rows that it sent again; null for a run that sent pending rows.';
