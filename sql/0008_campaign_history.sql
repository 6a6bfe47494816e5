-- History for analysts, and the role that they read it as.
-- depends: 0007_rollups

CREATE OR REPLACE FUNCTION campaign_history(days integer, zone text DEFAULT 'UTC')
RETURNS TABLE (
    day                     date,
    is_computed             boolean,
    runs                    bigint,
    agents_total            numeric,
    agents_successful       numeric,
    success_rate_pct        numeric,
    assets_generated        numeric,
    tokens_in               numeric,
    tokens_out              numeric,
    cost_usd                numeric,
    cost_per_run_usd        numeric,
    latency_avg_ms          numeric,
    latency_p95_worst_ms    numeric,
    latency_p95_median_ms   numeric,
    slo_breach_pct          numeric,
    runs_avg_7d             numeric,
    success_rate_7d_pct     numeric,
    assets_generated_avg_7d numeric,
    tokens_in_avg_7d        numeric,
    tokens_out_avg_7d       numeric,
    cost_avg_7d_usd         numeric,
    latency_avg_7d_ms       numeric,
    day_before              date,
    runs_before             bigint,
    success_rate_before_pct numeric,
    assets_generated_before numeric,
    tokens_in_before        numeric,
    tokens_out_before       numeric,
    cost_before_usd         numeric,
    latency_avg_before_ms   numeric
)
LANGUAGE sql STABLE
AS $$
    WITH calendar AS (
        SELECT label::date AS day
        FROM generate_series(
            -- The window, the one before it, and the six days that its first
            -- average reaches back.
            (now() AT TIME ZONE zone)::date - 2 * days - 6,
            (now() AT TIME ZONE zone)::date - 1,
            interval '1 day'
        ) AS label
    ),
    looked_back AS (
        SELECT
            calendar.day,
            total.day IS NOT NULL AS is_computed,
            total.runs, total.agents_total, total.agents_successful,
            total.success_rate_pct, total.assets_generated, total.tokens_in,
            total.tokens_out, total.cost_usd, total.cost_per_run_usd,
            total.latency_avg_ms, total.latency_p95_worst_ms,
            total.latency_p95_median_ms, total.slo_breach_pct,
            round(avg(total.runs) OVER week, 2) AS runs_avg_7d,
            round(100 * sum(total.agents_successful) OVER week
                / nullif(sum(total.agents_total) OVER week, 0), 4)
                AS success_rate_7d_pct,
            round(avg(total.assets_generated) OVER week, 2) AS assets_generated_avg_7d,
            round(avg(total.tokens_in) OVER week, 2) AS tokens_in_avg_7d,
            round(avg(total.tokens_out) OVER week, 2) AS tokens_out_avg_7d,
            round(avg(total.cost_usd) OVER week, 5) AS cost_avg_7d_usd,
            round(sum(total.latency_avg_ms * total.agents_total) OVER week
                / nullif(sum(total.agents_total)
                    FILTER (WHERE total.latency_avg_ms IS NOT NULL) OVER week, 0), 3)
                AS latency_avg_7d_ms,
            lag(calendar.day, days) OVER every AS day_before,
            lag(total.runs, days) OVER every AS runs_before,
            lag(total.success_rate_pct, days) OVER every AS success_rate_before_pct,
            lag(total.assets_generated, days) OVER every AS assets_generated_before,
            lag(total.tokens_in, days) OVER every AS tokens_in_before,
            lag(total.tokens_out, days) OVER every AS tokens_out_before,
            lag(total.cost_usd, days) OVER every AS cost_before_usd,
            lag(total.latency_avg_ms, days) OVER every AS latency_avg_before_ms
        FROM calendar
        LEFT JOIN daily_rollup_total AS total
            ON total.time_zone = zone AND total.day = calendar.day
        WINDOW every AS (ORDER BY calendar.day),
            week AS (ORDER BY calendar.day ROWS 6 PRECEDING)
    )
    SELECT *
    FROM looked_back
    WHERE looked_back.day >= (now() AT TIME ZONE zone)::date - days
    ORDER BY looked_back.day
$$;

COMMENT ON FUNCTION campaign_history(integer, text) IS
    'The last whole days of a time zone, one row each, also where nothing ran. The views '
    'campaign_history_30d, _60d and _90d have comments on each column.';

-- The comments of a view have to be written out for each; they are the same for all.
DO $$
DECLARE
    length integer;
    name text;
    described record;
BEGIN
    FOREACH length IN ARRAY ARRAY[30, 60, 90] LOOP
        name := format('campaign_history_%sd', length);
        IF to_regclass(name) IS NOT NULL THEN
            CONTINUE;
        END IF;
        EXECUTE format(
            'CREATE VIEW %I AS SELECT * FROM campaign_history(%s)', name, length
        );
        EXECUTE format(
            'COMMENT ON VIEW %I IS %L', name,
            format('The last %s whole days in UTC, all campaigns together, with moving '
                'averages and the %s days before. Other lengths and time zones: SELECT '
                '* FROM campaign_history(14, ''Europe/Berlin'').', length, length)
        );
        FOR described IN
            SELECT * FROM (VALUES
                ('day', 'Calendar day. Today is not among them: it is not over.'),
                ('is_computed', 'Whether the day''s rollup exists. Where it does not, '
                    'the figures are null; where it does and nothing ran, zero.'),
                ('runs', 'Campaign runs.'),
                ('agents_total', 'Agents started.'),
                ('agents_successful', 'Agents that finished successfully.'),
                ('success_rate_pct', 'agents_successful in percent of agents_total, 0 '
                    'to 100; null without agents.'),
                ('assets_generated', 'Assets generated.'),
                ('tokens_in', 'Prompt tokens.'),
                ('tokens_out', 'Completion tokens.'),
                ('cost_usd', 'Cost, US dollars.'),
                ('cost_per_run_usd', 'Cost by run, US dollars; null without runs.'),
                ('latency_avg_ms', 'Mean latency of agents, milliseconds, weighted by '
                    'the runs'' agents; null without agents.'),
                ('latency_p95_worst_ms', 'Largest of the runs'' 95th percentiles of '
                    'latency, milliseconds.'),
                ('latency_p95_median_ms', 'Median of the runs'' 95th percentiles of '
                    'latency, milliseconds.'),
                ('slo_breach_pct', 'Runs whose 95th percentile of latency is above the '
                    'objective, in percent; null without an objective or without runs.'),
                ('runs_avg_7d', 'Runs a day, mean of this day and the six before; days '
                    'that are not computed are left out.'),
                ('success_rate_7d_pct', 'Success rate of this day and the six before, '
                    'percent: sum over sum.'),
                ('assets_generated_avg_7d', 'Assets a day, mean of this day and the six '
                    'before.'),
                ('tokens_in_avg_7d', 'Prompt tokens a day, mean of this day and the six '
                    'before.'),
                ('tokens_out_avg_7d', 'Completion tokens a day, mean of this day and '
                    'the six before.'),
                ('cost_avg_7d_usd', 'Cost a day, US dollars, mean of this day and the '
                    'six before.'),
                ('latency_avg_7d_ms', 'Mean latency of the agents of this day and the '
                    'six before, milliseconds.'),
                ('day_before', 'The day of the window before that this one is compared '
                    'with: as many days earlier as the window is long.'),
                ('runs_before', 'Runs on that day.'),
                ('success_rate_before_pct', 'Success rate on that day, percent.'),
                ('assets_generated_before', 'Assets generated on that day.'),
                ('tokens_in_before', 'Prompt tokens on that day.'),
                ('tokens_out_before', 'Completion tokens on that day.'),
                ('cost_before_usd', 'Cost on that day, US dollars.'),
                ('latency_avg_before_ms', 'Mean latency on that day, milliseconds.')
            ) AS said (column_name, words)
        LOOP
            EXECUTE format(
                'COMMENT ON COLUMN %I.%I IS %L', name, described.column_name,
                described.words
            );
        END LOOP;
    END LOOP;
END
$$;

CREATE TABLE IF NOT EXISTS analyst_object (
    name text PRIMARY KEY
);

COMMENT ON TABLE analyst_object IS
    'Tables and views that the role apex_analyst may read.';
COMMENT ON COLUMN analyst_object.name IS
    'Its name.';

INSERT INTO analyst_object (name)
VALUES
    ('daily_campaign_rollup'), ('daily_rollup_total'), ('weekly_campaign_rollup'),
    ('weekly_rollup_total'), ('campaign_history_30d'), ('campaign_history_60d'),
    ('campaign_history_90d')
ON CONFLICT DO NOTHING;

-- Called by each migration that adds to the table, and by `apex provision database`.
CREATE OR REPLACE FUNCTION grant_analyst_access() RETURNS text
LANGUAGE plpgsql
AS $$
DECLARE
    readable regclass;
BEGIN
    IF to_regrole('apex_analyst') IS NULL THEN
        BEGIN
            CREATE ROLE apex_analyst NOLOGIN;
            COMMENT ON ROLE apex_analyst IS
                'Reads the tables and views that apex_pipeline makes for analysts.';
            -- Guard rails, which a session may lift; the privileges are the fence.
            ALTER ROLE apex_analyst SET default_transaction_read_only = on;
            ALTER ROLE apex_analyst SET statement_timeout = '60s';
        EXCEPTION
            WHEN insufficient_privilege THEN
                RETURN 'The role apex_analyst is missing, and the user of DATABASE_URL '
                    'may not create it. As a user who may: CREATE ROLE apex_analyst '
                    'NOLOGIN. Then run `apex provision database` again.';
            -- Roles belong to the whole server: another of its databases was quicker.
            WHEN duplicate_object OR unique_violation THEN
                NULL;
        END;
    END IF;
    EXECUTE format('GRANT USAGE ON SCHEMA %I TO apex_analyst', current_schema());
    FOR readable IN
        SELECT to_regclass(name) FROM analyst_object
        WHERE to_regclass(name) IS NOT NULL ORDER BY name
    LOOP
        EXECUTE format('GRANT SELECT ON %s TO apex_analyst', readable);
    END LOOP;
    RETURN NULL;
EXCEPTION
    WHEN insufficient_privilege THEN
        RETURN format(
            'The user of DATABASE_URL may not let apex_analyst read: %s.', SQLERRM
        );
END
$$;

COMMENT ON FUNCTION grant_analyst_access() IS
    'Lets the role apex_analyst read what analyst_object names, and makes the role where '
    'it is missing. Returns null, or what has to be done first.';
REVOKE EXECUTE ON FUNCTION grant_analyst_access() FROM PUBLIC;

DO $$
BEGIN
    PERFORM grant_analyst_access();
END
$$;
