-- A role that may append an event and create temporary tables could put a table of its own
-- in front of audit_event, and so get round the checks. With a fixed search path they see
-- only ours.
-- depends: 0023_audit

DO $$
DECLARE
    function regprocedure;
BEGIN
    FOR function IN
        SELECT oid FROM pg_proc
        WHERE pronamespace = current_schema()::regnamespace AND proname IN (
            'audit_append', 'audit_event_extends_the_chain', 'audit_event_is_pruned',
            'audit_is_append_only'
        )
    LOOP
        EXECUTE format(
            'ALTER FUNCTION %s SET search_path = %I, pg_temp', function, current_schema()
        );
    END LOOP;
END
$$;
