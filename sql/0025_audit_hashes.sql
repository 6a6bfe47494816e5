-- A role that may append an event could give it a wrong hash, or a time of its choice; it
-- also could hold what no reader takes. Verification named such an event for good. Now the
-- server computes the hash of each new event from its columns.
-- depends: 0024_audit_search_path

-- Names are ASCII and numbers are whole, so the server's text of scalars and the order of
-- bytes are those of RFC 8785. Our events nest two levels.
CREATE OR REPLACE FUNCTION audit_canonical(given jsonb, depth integer DEFAULT 0)
RETURNS text LANGUAGE plpgsql IMMUTABLE AS $$
BEGIN
    CASE jsonb_typeof(given)
    WHEN 'object' THEN
        IF depth = 9 OR EXISTS (
            SELECT FROM jsonb_object_keys(given) AS name WHERE name ~ '[^\x01-\x7F]'
        ) THEN
            RAISE check_violation USING MESSAGE =
                'names in an event of the audit trail are ASCII, and nest a few levels';
        END IF;
        RETURN '{' || coalesce((
            SELECT string_agg(
                to_json(key)::text || ':' || audit_canonical(value, depth + 1), ','
                ORDER BY key COLLATE "C"
            )
            FROM jsonb_each(given)
        ), '') || '}';
    WHEN 'array' THEN
        IF depth = 9 THEN
            RAISE check_violation USING MESSAGE =
                'lists in an event of the audit trail nest a few levels';
        END IF;
        RETURN '[' || coalesce((
            SELECT string_agg(
                CASE jsonb_typeof(value)
                    WHEN 'string' THEN value::text
                    ELSE audit_canonical(value, depth + 1)
                END, ',' ORDER BY place
            )
            FROM jsonb_array_elements(given) WITH ORDINALITY AS element (value, place)
        ), '') || ']';
    WHEN 'number' THEN
        -- Others have no form that all readers of JSON agree on.
        IF given::text !~ '^(0|-?[1-9][0-9]{0,15})$' OR abs(given::numeric) >= 2::numeric ^ 53
        THEN
            RAISE check_violation USING MESSAGE =
                'numbers in an event of the audit trail are whole and below 2^53';
        END IF;
        RETURN given::text;
    ELSE
        RETURN given::text;
    END CASE;
END
$$;

CREATE OR REPLACE FUNCTION audit_event_fits_its_hash() RETURNS trigger
LANGUAGE plpgsql AS $$
DECLARE
    covered text;
BEGIN
    IF NEW.at NOT BETWEEN clock_timestamp() - interval '1 minute'
        AND clock_timestamp() + interval '1 minute'
    THEN
        RAISE check_violation USING MESSAGE =
            format('event %s is not of this time', NEW.sequence);
    END IF;
    covered := audit_canonical(jsonb_build_object(
        'sequence', NEW.sequence, 'act', NEW.act,
        'at', (to_json(NEW.at AT TIME ZONE 'UTC') #>> '{}') || 'Z',
        'actor', NEW.actor, 'action', NEW.action, 'outcome', NEW.outcome,
        'subject', NEW.subject, 'counts', NEW.counts, 'before', NEW.before,
        'after', NEW.after, 'reason', NEW.reason, 'run_id', NEW.run_id,
        'version', NEW.version, 'previous_hash', encode(NEW.previous_hash, 'hex')
    ));
    IF NEW.hash <> sha256(convert_to(covered, 'UTF8')) THEN
        RAISE check_violation USING MESSAGE =
            format('the hash of event %s does not fit it', NEW.sequence);
    END IF;
    RETURN NEW;
END
$$;

-- Triggers run by their names: an event that does not follow the head is refused as such.
CREATE OR REPLACE TRIGGER audit_event_fits_its_hash
BEFORE INSERT ON audit_event
FOR EACH ROW EXECUTE FUNCTION audit_event_fits_its_hash();

-- As in 0024_audit_search_path.
DO $$
DECLARE
    function regprocedure;
BEGIN
    FOR function IN
        SELECT oid FROM pg_proc
        WHERE pronamespace = current_schema()::regnamespace
            AND proname IN ('audit_canonical', 'audit_event_fits_its_hash')
    LOOP
        EXECUTE format(
            'ALTER FUNCTION %s SET search_path = %I, pg_temp', function, current_schema()
        );
    END LOOP;
END
$$;
