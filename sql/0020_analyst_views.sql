-- Analysts read one time zone at a time: views of the business's own, without a column
-- for it, with names of campaigns and with what is not over marked.
-- depends: 0011_reconciliation

CREATE TABLE IF NOT EXISTS business_time_zone (
    single boolean PRIMARY KEY DEFAULT true CHECK (single),
    name   text    NOT NULL
);

COMMENT ON TABLE business_time_zone IS
    'Time zone of the views campaign_daily, campaign_weekly, totals_daily, totals_weekly '
    'and campaign_history_*: APEX_TIME_ZONE, as of the last refresh. One row.';
COMMENT ON COLUMN business_time_zone.single IS
    'Keeps the table to one row.';
COMMENT ON COLUMN business_time_zone.name IS
    'Its IANA name; UTC where none is configured.';

INSERT INTO business_time_zone (name)
SELECT coalesce(
    (SELECT min(time_zone) FROM rollup_source WHERE time_zone <> 'UTC'), 'UTC'
)
ON CONFLICT DO NOTHING;

CREATE TABLE IF NOT EXISTS campaign_name (
    campaign_id text PRIMARY KEY,
    name        text NOT NULL CHECK (name <> '')
);

COMMENT ON TABLE campaign_name IS
    'Names for campaigns, where somebody has given any: `apex record campaigns FILE`.';
COMMENT ON COLUMN campaign_name.campaign_id IS
    'Campaign, campaign_metrics.campaign_id as text: a UUID in lower case.';
COMMENT ON COLUMN campaign_name.name IS
    'What people call it.';

CREATE OR REPLACE VIEW zoned_campaign_daily AS
SELECT source.time_zone, source.day,
    source.computed_at >= (source.day + 1)::timestamp AT TIME ZONE source.time_zone
        AS is_complete,
    source.campaign_id, named.name AS campaign_name, source.phase, source.runs,
    source.agents_total, source.agents_successful, source.success_rate_pct,
    source.assets_generated, source.assets_per_run, source.tokens_in,
    source.tokens_out, source.cost_usd, source.cost_per_run_usd,
    source.cost_per_asset_usd, source.latency_avg_ms, source.latency_p95_worst_ms,
    source.latency_p95_median_ms, source.slo_p95_ms, source.slo_breach_pct,
    source.first_run_at, source.last_run_at, source.computed_at
FROM daily_campaign_rollup AS source
LEFT JOIN campaign_name AS named USING (campaign_id);

CREATE OR REPLACE VIEW campaign_daily AS
SELECT source.day, source.is_complete,
    source.campaign_id, source.campaign_name, source.phase, source.runs,
    source.agents_total, source.agents_successful, source.success_rate_pct,
    source.assets_generated, source.assets_per_run, source.tokens_in,
    source.tokens_out, source.cost_usd, source.cost_per_run_usd,
    source.cost_per_asset_usd, source.latency_avg_ms, source.latency_p95_worst_ms,
    source.latency_p95_median_ms, source.slo_p95_ms, source.slo_breach_pct,
    source.first_run_at, source.last_run_at, source.computed_at
FROM zoned_campaign_daily AS source
WHERE source.time_zone = (SELECT name FROM business_time_zone);

CREATE OR REPLACE VIEW totals_daily AS
SELECT source.day,
    source.computed_at >= (source.day + 1)::timestamp AT TIME ZONE source.time_zone
        AS is_complete,
    source.runs, source.agents_total, source.agents_successful,
    source.success_rate_pct, source.assets_generated, source.assets_per_run,
    source.tokens_in, source.tokens_out, source.cost_usd, source.cost_per_run_usd,
    source.cost_per_asset_usd, source.latency_avg_ms, source.latency_p95_worst_ms,
    source.latency_p95_median_ms, source.slo_p95_ms, source.slo_breach_pct,
    source.first_run_at, source.last_run_at, source.computed_at
FROM daily_rollup_total AS source
WHERE source.time_zone = (SELECT name FROM business_time_zone);

CREATE OR REPLACE VIEW zoned_campaign_weekly AS
SELECT source.time_zone, source.week,
    source.computed_at >= (source.week + 7)::timestamp AT TIME ZONE source.time_zone
        AS is_complete,
    source.campaign_id, named.name AS campaign_name, source.phase, source.runs,
    source.agents_total, source.agents_successful, source.success_rate_pct,
    source.assets_generated, source.assets_per_run, source.tokens_in,
    source.tokens_out, source.cost_usd, source.cost_per_run_usd,
    source.cost_per_asset_usd, source.latency_avg_ms, source.latency_p95_worst_ms,
    source.latency_p95_median_ms, source.slo_p95_ms, source.slo_breach_pct,
    source.first_run_at, source.last_run_at, source.computed_at, source.runs_change,
    source.success_rate_change_points, source.assets_generated_change,
    source.tokens_in_change, source.tokens_out_change, source.cost_usd_change,
    source.cost_usd_change_pct, source.latency_avg_change_ms,
    source.latency_p95_worst_change_ms, source.latency_p95_median_change_ms
FROM weekly_campaign_rollup AS source
LEFT JOIN campaign_name AS named USING (campaign_id);

CREATE OR REPLACE VIEW campaign_weekly AS
SELECT source.week, source.is_complete,
    source.campaign_id, source.campaign_name, source.phase, source.runs,
    source.agents_total, source.agents_successful, source.success_rate_pct,
    source.assets_generated, source.assets_per_run, source.tokens_in,
    source.tokens_out, source.cost_usd, source.cost_per_run_usd,
    source.cost_per_asset_usd, source.latency_avg_ms, source.latency_p95_worst_ms,
    source.latency_p95_median_ms, source.slo_p95_ms, source.slo_breach_pct,
    source.first_run_at, source.last_run_at, source.computed_at, source.runs_change,
    source.success_rate_change_points, source.assets_generated_change,
    source.tokens_in_change, source.tokens_out_change, source.cost_usd_change,
    source.cost_usd_change_pct, source.latency_avg_change_ms,
    source.latency_p95_worst_change_ms, source.latency_p95_median_change_ms
FROM zoned_campaign_weekly AS source
WHERE source.time_zone = (SELECT name FROM business_time_zone);

CREATE OR REPLACE VIEW totals_weekly AS
SELECT source.week,
    source.computed_at >= (source.week + 7)::timestamp AT TIME ZONE source.time_zone
        AS is_complete,
    source.runs, source.agents_total, source.agents_successful,
    source.success_rate_pct, source.assets_generated, source.assets_per_run,
    source.tokens_in, source.tokens_out, source.cost_usd, source.cost_per_run_usd,
    source.cost_per_asset_usd, source.latency_avg_ms, source.latency_p95_worst_ms,
    source.latency_p95_median_ms, source.slo_p95_ms, source.slo_breach_pct,
    source.first_run_at, source.last_run_at, source.computed_at, source.runs_change,
    source.success_rate_change_points, source.assets_generated_change,
    source.tokens_in_change, source.tokens_out_change, source.cost_usd_change,
    source.cost_usd_change_pct, source.latency_avg_change_ms,
    source.latency_p95_worst_change_ms, source.latency_p95_median_change_ms
FROM weekly_rollup_total AS source
WHERE source.time_zone = (SELECT name FROM business_time_zone);

-- A column of a view is described as that of the table it comes from.
DO $$
DECLARE
    described record;
BEGIN
    FOR described IN
        SELECT seen.attrelid::regclass AS view_name, seen.attname, coalesce(
            col_description(source.attrelid, source.attnum),
            CASE seen.attname
                WHEN 'is_complete' THEN
                    'Whether the day or week was over when this row was computed. Where '
                    'it was not, such as today, the figures are not final.'
                ELSE
                    'What people call the campaign; null where campaign_name does not '
                    'say.'
            END
        ) AS words
        FROM unnest(
            ARRAY[
                'campaign_daily', 'zoned_campaign_daily', 'totals_daily',
                'campaign_weekly', 'zoned_campaign_weekly', 'totals_weekly'
            ],
            ARRAY[
                'daily_campaign_rollup', 'daily_campaign_rollup', 'daily_rollup_total',
                'weekly_campaign_rollup', 'weekly_campaign_rollup', 'weekly_rollup_total'
            ]
        ) AS made (view_name, table_name)
        JOIN pg_attribute AS seen
            ON seen.attrelid = made.view_name::regclass AND seen.attnum > 0
        LEFT JOIN pg_attribute AS source
            ON source.attname = seen.attname
                AND source.attrelid = made.table_name::regclass
    LOOP
        EXECUTE format(
            'COMMENT ON COLUMN %s.%I IS %L', described.view_name, described.attname,
            described.words
        );
    END LOOP;
END
$$;

COMMENT ON VIEW zoned_campaign_daily IS
    'campaign_daily of each time zone: what files are made of. Filter by time_zone.';
COMMENT ON VIEW zoned_campaign_weekly IS
    'campaign_weekly of each time zone: what files are made of. Filter by time_zone.';
COMMENT ON VIEW campaign_daily IS
    'One row for each day, campaign and phase that had runs, in the business time zone '
    'alone (see business_time_zone).';
COMMENT ON VIEW totals_daily IS
    'One row for each computed day, all campaigns together, in the business time zone '
    'alone (see business_time_zone); also for days without runs.';
COMMENT ON VIEW campaign_weekly IS
    'One row for each whole ISO week, campaign and phase that had runs in it or in the '
    'week before, in the business time zone alone (see business_time_zone).';
COMMENT ON VIEW totals_weekly IS
    'One row for each computed ISO week, all campaigns together, in the business time '
    'zone alone (see business_time_zone); also without runs.';

COMMENT ON TABLE daily_campaign_rollup IS
    'One row for each day, campaign and phase that had runs, in each time zone: filter '
    'by time_zone, or read campaign_daily. Sums over all rows count each run twice.';
COMMENT ON TABLE daily_rollup_total IS
    'One row for each computed day and time zone, all campaigns together; also for days '
    'without runs. Filter by time_zone, or read totals_daily: sums over all rows count '
    'each run twice.';
COMMENT ON TABLE weekly_campaign_rollup IS
    'One row for each whole ISO week, campaign and phase that had runs in it or in the '
    'week before, in each time zone: filter by time_zone, or read campaign_weekly. Sums '
    'over all rows count each run twice.';
COMMENT ON TABLE weekly_rollup_total IS
    'One row for each computed ISO week and time zone, all campaigns together; also '
    'without runs. Filter by time_zone, or read totals_weekly: sums over all rows count '
    'each run twice.';

CREATE OR REPLACE FUNCTION computed_time_zone(zone text) RETURNS text
LANGUAGE plpgsql STABLE
AS $$
DECLARE
    business text := (SELECT name FROM business_time_zone);
BEGIN
    IF zone IS NULL OR zone IN ('UTC', business) THEN
        RETURN coalesce(zone, business);
    END IF;
    IF EXISTS (SELECT FROM daily_rollup_total WHERE time_zone = zone) THEN
        RETURN zone;
    END IF;
    RAISE EXCEPTION 'Rollups are made for %, not for %.',
        concat_ws(' and ', 'UTC', nullif(business, 'UTC')), zone
        USING ERRCODE = 'invalid_parameter_value',
            HINT = 'APEX_TIME_ZONE names the one besides UTC.';
END
$$;

COMMENT ON FUNCTION computed_time_zone(text) IS
    'The time zone that is given, or the business''s own for null; an error where no '
    'rollups are made for it.';

CREATE OR REPLACE FUNCTION campaign_history(days integer, zone text DEFAULT NULL)
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
    WITH asked AS MATERIALIZED (
        SELECT computed_time_zone(zone) AS name
    ),
    calendar AS (
        SELECT label::date AS day
        FROM asked CROSS JOIN LATERAL generate_series(
            -- The window, the one before it, and the six days that its first
            -- average reaches back.
            (now() AT TIME ZONE asked.name)::date - 2 * days - 6,
            (now() AT TIME ZONE asked.name)::date - 1,
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
            ON total.time_zone = (SELECT name FROM asked)
                AND total.day = calendar.day
        WINDOW every AS (ORDER BY calendar.day),
            week AS (ORDER BY calendar.day ROWS 6 PRECEDING)
    )
    SELECT *
    FROM looked_back
    WHERE looked_back.day >= (
        SELECT (now() AT TIME ZONE asked.name)::date - days FROM asked
    )
    ORDER BY looked_back.day
$$;

COMMENT ON FUNCTION campaign_history(integer, text) IS
    'The last whole days of a time zone, one row each, also where nothing ran; of the '
    'business time zone where none is given. An error where no rollups are made for it. '
    'The views campaign_history_30d, _60d and _90d have comments on each column.';

CREATE OR REPLACE VIEW campaign_history_30d AS SELECT * FROM campaign_history(30);
CREATE OR REPLACE VIEW campaign_history_60d AS SELECT * FROM campaign_history(60);
CREATE OR REPLACE VIEW campaign_history_90d AS SELECT * FROM campaign_history(90);

DO $$
DECLARE
    length integer;
BEGIN
    FOREACH length IN ARRAY ARRAY[30, 60, 90] LOOP
        EXECUTE format(
            'COMMENT ON VIEW %I IS %L', format('campaign_history_%sd', length),
            format('The last %s whole days in the business time zone (see '
                'business_time_zone), all campaigns together, with moving averages and '
                'the %s days before. Other lengths: SELECT * FROM campaign_history(14).',
                length, length)
        );
    END LOOP;
END
$$;

INSERT INTO analyst_object (name)
VALUES
    ('business_time_zone'), ('campaign_name'), ('campaign_daily'), ('campaign_weekly'),
    ('totals_daily'), ('totals_weekly')
ON CONFLICT DO NOTHING;

DO $$
BEGIN
    PERFORM grant_analyst_access();
END
$$;
