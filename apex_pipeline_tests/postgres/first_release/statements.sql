SELECT count(*) FROM "daily_campaign_rollup" AS source WHERE true AND source."day" >= '2026-05-29'::date::date AND source."day" <= '2026-05-29'::date::date AND source.time_zone = 'UTC';

SELECT attname, CASE typname WHEN 'uuid' THEN 'uuid' ELSE typcategory::text END
        FROM pg_attribute JOIN pg_type ON pg_type.oid = atttypid
        WHERE attrelid = to_regclass($1) AND attnum > 0 AND NOT attisdropped
        ORDER BY attnum;

select pg_catalog.version();

select current_schema();

SELECT id, started_at, host, dagster_run_id, status, finished_at, rows_read,
            delivered, rejected, remaining, requests, throttled_seconds, token_cache_hits,
            token_cache_misses, oldest_pending_age_seconds, retry_at, error
        FROM sync_run
        ORDER BY id DESC
        LIMIT $1;

SELECT pg_database_size(current_database()),
            pg_size_bytes(current_setting('neon.max_cluster_size', true));

SELECT code, count(*) FROM campaign_metrics_quarantine
        WHERE next_attempt_at < 'infinity'
        GROUP BY code
        ORDER BY 2 DESC, 1;

SELECT count(*), extract(epoch FROM min(created_at) FILTER (WHERE NOT EXISTS (
            SELECT FROM campaign_metrics_quarantine WHERE metric_id = pending.id
        )))
        FROM campaign_metrics_pending AS pending;

SELECT count(*) FROM campaign_history(30, 'UTC') AS source WHERE true;

SELECT count(*) FROM "cost_forecast" AS source WHERE true AND source.time_zone = 'UTC';

SELECT count(*) FROM "cost_forecast_horizon" AS source WHERE true AND source.time_zone = 'UTC';

SELECT day, runs, success_rate_pct, assets_generated, tokens_in, tokens_out,
            cost_usd, latency_p95_median_ms
        FROM daily_rollup_total
        WHERE time_zone = $1 AND day BETWEEN $2 AND $3
        ORDER BY day;

SELECT pg_try_advisory_xact_lock(730833204421057);

SELECT least(retry_at, updated_at + interval '1 hour')
        FROM dataverse_pacing
        WHERE key = $1 AND retry_at IS NOT NULL;

UPDATE sync_run
        SET status = 'interrupted', finished_at = $1,
            error = 'The process ended without a word.'
        WHERE status = 'running';

INSERT INTO sync_run (started_at, host, dagster_run_id)
        VALUES ($1, $2, $3)
        RETURNING id;

SELECT state FROM dataverse_pacing WHERE key = $1;

SELECT resource, first_delivered_at, duplicates_accepted_at, records_adopted_at
        FROM dataverse_target
        WHERE resource = $1;

SELECT CAST(id AS text) FROM campaign_metrics WHERE id = ANY($1)
        UNION ALL
        SELECT CAST(record_id AS text) FROM adopted_record
        WHERE record_id = ANY(CAST($1 AS uuid[]));

SELECT 1;

INSERT INTO dataverse_pacing (key, state, retry_at, updated_at)
        VALUES ($1, $2, $3, now())
        ON CONFLICT (key) DO UPDATE
        SET state = excluded.state,
            retry_at = excluded.retry_at,
            updated_at = excluded.updated_at;

SELECT CAST(id AS text) AS id,
            CAST(created_at AS text) AS position,
            extract(epoch FROM created_at) AS created_at,
            campaign_id, run_id, phase, agents_total, agents_successful, assets_generated,
            tokens_in, tokens_out, cost_usd, latency_p95_ms, latency_avg_ms,
            success_rate_pct,
            (
                SELECT CAST(record_id AS text) FROM adopted_record
                WHERE metric_id = metric.id
            ) AS record_id,
            -- Text tells cases apart where a UUID does not: two such rows are one record. It
            -- is that of the row that was delivered, else of the one in small letters.
            CASE WHEN pg_typeof(metric.id) = CAST('uuid' AS regtype) THEN false
            ELSE EXISTS (
                SELECT FROM campaign_metrics AS twin
                WHERE CAST(twin.id AS text) IN (
                    lower(CAST(metric.id AS text)), upper(CAST(metric.id AS text))
                )
                    AND twin.id <> metric.id
                    AND CASE WHEN (twin.exported_at IS NULL) = (metric.exported_at IS NULL)
                    THEN CAST(metric.id AS text) <> lower(CAST(metric.id AS text))
                    ELSE twin.exported_at IS NOT NULL END
            ) END AS has_twin
     FROM campaign_metrics_pending AS metric
        ORDER BY metric.created_at, metric.id
        LIMIT $1;

SELECT CAST(id AS text) AS id,
            CAST(created_at AS text) AS position,
            extract(epoch FROM created_at) AS created_at,
            campaign_id, run_id, phase, agents_total, agents_successful, assets_generated,
            tokens_in, tokens_out, cost_usd, latency_p95_ms, latency_avg_ms,
            success_rate_pct,
            (
                SELECT CAST(record_id AS text) FROM adopted_record
                WHERE metric_id = metric.id
            ) AS record_id,
            -- Text tells cases apart where a UUID does not: two such rows are one record. It
            -- is that of the row that was delivered, else of the one in small letters.
            CASE WHEN pg_typeof(metric.id) = CAST('uuid' AS regtype) THEN false
            ELSE EXISTS (
                SELECT FROM campaign_metrics AS twin
                WHERE CAST(twin.id AS text) IN (
                    lower(CAST(metric.id AS text)), upper(CAST(metric.id AS text))
                )
                    AND twin.id <> metric.id
                    AND CASE WHEN (twin.exported_at IS NULL) = (metric.exported_at IS NULL)
                    THEN CAST(metric.id AS text) <> lower(CAST(metric.id AS text))
                    ELSE twin.exported_at IS NOT NULL END
            ) END AS has_twin
     FROM campaign_metrics_pending AS metric WHERE (metric.created_at, metric.id) > ($1, $2)
        ORDER BY metric.created_at, metric.id
        LIMIT $3;

UPDATE sync_run SET delivered = delivered + $1 WHERE id = $2;

UPDATE campaign_metrics
        SET exported_at = $1
        WHERE id = ANY($2) AND (exported_at IS NULL OR $3);

DELETE FROM campaign_metrics_quarantine WHERE metric_id = ANY($1);

SELECT CAST(id AS text) AS id,
            CAST(created_at AS text) AS position,
            extract(epoch FROM created_at) AS created_at,
            campaign_id, run_id, phase, agents_total, agents_successful, assets_generated,
            tokens_in, tokens_out, cost_usd, latency_p95_ms, latency_avg_ms,
            success_rate_pct,
            (
                SELECT CAST(record_id AS text) FROM adopted_record
                WHERE metric_id = metric.id
            ) AS record_id,
            -- Text tells cases apart where a UUID does not: two such rows are one record. It
            -- is that of the row that was delivered, else of the one in small letters.
            CASE WHEN pg_typeof(metric.id) = CAST('uuid' AS regtype) THEN false
            ELSE EXISTS (
                SELECT FROM campaign_metrics AS twin
                WHERE CAST(twin.id AS text) IN (
                    lower(CAST(metric.id AS text)), upper(CAST(metric.id AS text))
                )
                    AND twin.id <> metric.id
                    AND CASE WHEN (twin.exported_at IS NULL) = (metric.exported_at IS NULL)
                    THEN CAST(metric.id AS text) <> lower(CAST(metric.id AS text))
                    ELSE twin.exported_at IS NOT NULL END
            ) END AS has_twin
     FROM campaign_metrics_pending AS metric WHERE metric.created_at IS NULL
        ORDER BY metric.created_at, metric.id
        LIMIT $1;

INSERT INTO dataverse_target AS known (resource, first_delivered_at)
        VALUES ($1, $2)
        ON CONFLICT (resource) DO UPDATE
        SET first_delivered_at = excluded.first_delivered_at
        WHERE known.first_delivered_at IS NULL;

UPDATE sync_run
        SET status = $1,
            finished_at = $2,
            rows_read = $3,
            delivered = $4,
            rejected = $5,
            remaining = $6,
            requests = $7,
            throttled_seconds = $8,
            token_cache_hits = $9,
            token_cache_misses = $10,
            oldest_pending_age_seconds = $11,
            retry_at = $12,
            error = $13
        WHERE id = $14;

SELECT count(*) FILTER (WHERE NOT is_dropped), count(*) FILTER (WHERE is_dropped)
        FROM quarantined_campaign_metrics;

SELECT code,
            regexp_replace(
                message,
                '[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}|-?[0-9]+([.:-]?[0-9]+)*',
                '…', 'gi'
            ) AS message,
            count(*) AS count,
            min(first_rejected_at) AS oldest_rejected_at,
            nullif(min(next_attempt_at), 'infinity') AS next_attempt_at,
            (array_agg(
                CAST(metric_id AS text) ORDER BY first_rejected_at, metric_id
            ))[1:3] AS example_ids
        FROM quarantined_campaign_metrics
        WHERE is_dropped = $1
            AND (CAST($2 AS text) IS NULL OR lower(code) = lower($2))
            AND (CAST($3 AS text) IS NULL
                OR position(lower($3) IN lower(message)) > 0)
        GROUP BY 1, 2
        ORDER BY 3 DESC, 1, 2
        LIMIT $4 OFFSET $5;

SELECT CAST(metric_id AS text) AS id, code, message, attempts,
            first_rejected_at, last_rejected_at,
            -- Python knows no infinity.
            nullif(next_attempt_at, 'infinity') AS next_attempt_at,
            dropped_at, dropped_by, drop_reason
        FROM quarantined_campaign_metrics
        WHERE is_dropped = $1
            AND (CAST($2 AS text) IS NULL OR lower(code) = lower($2))
            AND (CAST($3 AS text) IS NULL
                OR position(lower($3) IN lower(message)) > 0)
        ORDER BY quarantined_campaign_metrics.first_rejected_at,
            quarantined_campaign_metrics.metric_id
        LIMIT $4 OFFSET $5;

SELECT day, is_computed, runs, success_rate_pct, assets_generated, tokens_in,
            tokens_out, cost_usd, latency_p95_worst_ms, latency_p95_median_ms, runs_avg_7d,
            cost_avg_7d_usd, cost_before_usd
        FROM campaign_history($1, $2);

SELECT made_on, made_at, model, reason, note, learnt_from, days_known, days_missing
        FROM cost_forecast_training
        WHERE time_zone = $1 ORDER BY made_on DESC LIMIT 1;

SELECT day, cost_usd, low_50_usd, high_50_usd, low_80_usd, high_80_usd
        FROM cost_forecast WHERE time_zone = $1 ORDER BY day;

SELECT horizon, first_day, last_day, spent_usd, cost_usd, low_50_usd, high_50_usd,
            low_80_usd, high_80_usd
        FROM cost_forecast_horizon WHERE time_zone = $1
        ORDER BY horizon = 'month_end', last_day;

SELECT model, is_used, trials, mase, sum_days, sum_error_pct, pinball_usd,
            days_tested, coverage_50_pct, coverage_80_pct, sums_tested,
            sum_coverage_50_pct, sum_coverage_80_pct
        FROM cost_forecast_score WHERE time_zone = $1 AND made_on = $2
        ORDER BY is_used DESC, model;

SELECT coalesce(sum(delivered), 0), coalesce(sum(rejected), 0),
            coalesce(sum(throttled_seconds), 0), coalesce(sum(token_cache_hits), 0),
            coalesce(sum(token_cache_misses), 0)
        FROM sync_run;

DELETE FROM daily_campaign_rollup
        WHERE day BETWEEN $1 AND $2 OR time_zone <> ALL($3);

DELETE FROM daily_rollup_total
        WHERE day BETWEEN $1 AND $2 OR time_zone <> ALL($3);

DELETE FROM rollup_source
        WHERE grain = 'day'
            AND (starts_on BETWEEN $1 AND $2 OR time_zone <> ALL($3));

WITH period AS MATERIALIZED (
            SELECT zone.name AS time_zone, label::date AS starts_on,
                least((label) AT TIME ZONE zone.name, (label - interval '1 hour') AT TIME ZONE zone.name + interval '1 hour') AS starts_at,
                least((label + make_interval(days => $1)) AT TIME ZONE zone.name, (label + make_interval(days => $1) - interval '1 hour') AT TIME ZONE zone.name + interval '1 hour') AS ends_at,
                $2::integer AS slo_p95_ms
            FROM unnest($3::text[]) AS zone (name)
            CROSS JOIN generate_series(
                $4::timestamp, $5::timestamp, make_interval(days => $1)
            ) AS label
        ),
        measured AS MATERIALIZED (
            SELECT period.time_zone, period.starts_on, made.*
            FROM period CROSS JOIN LATERAL (
                SELECT campaign_id, phase, grouping(campaign_id) = 1 AS is_total,
                    coalesce(sum(hash_record_extended(ROW(campaign_id, phase, agents_total, agents_successful, assets_generated, tokens_in, tokens_out, cost_usd, latency_p95_ms, latency_avg_ms, created_at), 0)), 0) AS raw_checksum,
                    count(*) AS runs,
    coalesce(sum(agents_total)::numeric, 0) AS agents_total,
    coalesce(sum(agents_successful)::numeric, 0) AS agents_successful,
    round(100 * sum(agents_successful)::numeric / nullif(sum(agents_total)::numeric, 0), 4) AS success_rate_pct,
    coalesce(sum(assets_generated)::numeric, 0) AS assets_generated,
    round(sum(assets_generated)::numeric / nullif(count(*), 0), 4) AS assets_per_run,
    coalesce(sum(tokens_in)::numeric, 0) AS tokens_in,
    coalesce(sum(tokens_out)::numeric, 0) AS tokens_out,
    coalesce(sum(cost_usd::numeric), 0) AS cost_usd,
    round(sum(cost_usd::numeric) / nullif(count(*), 0), 8) AS cost_per_run_usd,
    round(sum(cost_usd::numeric) / nullif(sum(assets_generated)::numeric, 0), 8) AS cost_per_asset_usd,
    round(sum(latency_avg_ms::numeric * agents_total::numeric) / nullif(sum(agents_total) FILTER (WHERE latency_avg_ms IS NOT NULL)::numeric, 0), 3) AS latency_avg_ms,
    max(latency_p95_ms)::numeric AS latency_p95_worst_ms,
    round(percentile_cont(0.5) WITHIN GROUP (ORDER BY latency_p95_ms)::numeric, 1) AS latency_p95_median_ms,
    period.slo_p95_ms AS slo_p95_ms,
    CASE WHEN period.slo_p95_ms IS NOT NULL THEN round(100.0 * count(*) FILTER (WHERE latency_p95_ms > period.slo_p95_ms) / nullif(count(latency_p95_ms), 0), 4) END AS slo_breach_pct,
    min(created_at) AS first_run_at,
    max(created_at) AS last_run_at
                FROM (
        SELECT coalesce(campaign_id::text, '(none)') AS campaign_id, coalesce(phase::text, '(none)') AS phase,
            agents_total, agents_successful, assets_generated, tokens_in, tokens_out,
            cost_usd, latency_p95_ms, latency_avg_ms, created_at
        FROM campaign_metrics
                    WHERE created_at >= period.starts_at AND created_at < period.ends_at
                ) AS raw
                GROUP BY GROUPING SETS ((campaign_id, phase), ())
            ) AS made
        ),
        total AS (
            INSERT INTO daily_rollup_total (time_zone, day, runs, agents_total, agents_successful, success_rate_pct, assets_generated, assets_per_run, tokens_in, tokens_out, cost_usd, cost_per_run_usd, cost_per_asset_usd, latency_avg_ms, latency_p95_worst_ms, latency_p95_median_ms, slo_p95_ms, slo_breach_pct, first_run_at, last_run_at)
            SELECT time_zone, starts_on, runs, agents_total, agents_successful, success_rate_pct, assets_generated, assets_per_run, tokens_in, tokens_out, cost_usd, cost_per_run_usd, cost_per_asset_usd, latency_avg_ms, latency_p95_worst_ms, latency_p95_median_ms, slo_p95_ms, slo_breach_pct, first_run_at, last_run_at FROM measured WHERE is_total
        ),
        source AS (
            INSERT INTO rollup_source
                (grain, time_zone, starts_on, raw_rows, raw_checksum)
            SELECT 'day', time_zone, starts_on, runs, raw_checksum
            FROM measured WHERE is_total
        )
        INSERT INTO daily_campaign_rollup (time_zone, day, campaign_id, phase, runs, agents_total, agents_successful, success_rate_pct, assets_generated, assets_per_run, tokens_in, tokens_out, cost_usd, cost_per_run_usd, cost_per_asset_usd, latency_avg_ms, latency_p95_worst_ms, latency_p95_median_ms, slo_p95_ms, slo_breach_pct, first_run_at, last_run_at)
        SELECT time_zone, starts_on, campaign_id, phase, runs, agents_total, agents_successful, success_rate_pct, assets_generated, assets_per_run, tokens_in, tokens_out, cost_usd, cost_per_run_usd, cost_per_asset_usd, latency_avg_ms, latency_p95_worst_ms, latency_p95_median_ms, slo_p95_ms, slo_breach_pct, first_run_at, last_run_at
        FROM measured WHERE NOT is_total;

SELECT day, count(*) FROM daily_campaign_rollup WHERE day BETWEEN $1 AND $2 GROUP BY day;

WITH quarters AS MATERIALIZED (
            SELECT date_bin('15 minutes', created_at, timestamptz '2000-01-01 00:00+00')
                AS quarter, count(*)::numeric AS runs, sum(agents_total)::numeric AS agents_total, sum(agents_successful)::numeric AS agents_successful, sum(assets_generated)::numeric AS assets_generated, sum(tokens_in)::numeric AS tokens_in, sum(tokens_out)::numeric AS tokens_out, sum(cost_usd::numeric) AS cost_usd
            FROM campaign_metrics WHERE
        created_at >= (
            SELECT min($1::timestamp AT TIME ZONE name) - interval '2 hours'
            FROM unnest($2::text[]) AS name
        )
        AND created_at < (
            SELECT max(($3::timestamp + make_interval(days => $4))
                AT TIME ZONE name) + interval '2 hours'
            FROM unnest($2::text[]) AS name
        )
     GROUP BY 1
        ),
        raw AS (
            SELECT zone.name AS time_zone, (quarter AT TIME ZONE zone.name)::date AS label, sum(runs)::numeric AS runs, sum(agents_total)::numeric AS agents_total, sum(agents_successful)::numeric AS agents_successful, sum(assets_generated)::numeric AS assets_generated, sum(tokens_in)::numeric AS tokens_in, sum(tokens_out)::numeric AS tokens_out, sum(cost_usd::numeric) AS cost_usd
            FROM quarters CROSS JOIN unnest($2::text[]) AS zone (name)
            WHERE (quarter AT TIME ZONE zone.name)::date BETWEEN $1 AND $3
            GROUP BY 1, 2
        ),
        parts AS (
            SELECT time_zone, day AS label, sum(runs)::numeric AS runs, sum(agents_total)::numeric AS agents_total, sum(agents_successful)::numeric AS agents_successful, sum(assets_generated)::numeric AS assets_generated, sum(tokens_in)::numeric AS tokens_in, sum(tokens_out)::numeric AS tokens_out, sum(cost_usd::numeric) AS cost_usd FROM daily_campaign_rollup
            WHERE day BETWEEN $1 AND $3 GROUP BY 1, 2
        ),
        whole AS (
            SELECT time_zone, day AS label, runs, agents_total, agents_successful, assets_generated, tokens_in, tokens_out, cost_usd FROM daily_rollup_total
            WHERE day BETWEEN $1 AND $3
        )
        SELECT label, time_zone, coalesce(raw.runs, 0), parts.runs, whole.runs
        FROM raw FULL JOIN parts USING (time_zone, label)
        FULL JOIN whole USING (time_zone, label)
        WHERE whole.runs IS NULL
            OR (coalesce(raw.runs, 0), coalesce(raw.agents_total, 0), coalesce(raw.agents_successful, 0), coalesce(raw.assets_generated, 0), coalesce(raw.tokens_in, 0), coalesce(raw.tokens_out, 0), coalesce(raw.cost_usd, 0)) IS DISTINCT FROM (coalesce(parts.runs, 0), coalesce(parts.agents_total, 0), coalesce(parts.agents_successful, 0), coalesce(parts.assets_generated, 0), coalesce(parts.tokens_in, 0), coalesce(parts.tokens_out, 0), coalesce(parts.cost_usd, 0))
            OR (coalesce(raw.runs, 0), coalesce(raw.agents_total, 0), coalesce(raw.agents_successful, 0), coalesce(raw.assets_generated, 0), coalesce(raw.tokens_in, 0), coalesce(raw.tokens_out, 0), coalesce(raw.cost_usd, 0)) IS DISTINCT FROM (coalesce(whole.runs, 0), coalesce(whole.agents_total, 0), coalesce(whole.agents_successful, 0), coalesce(whole.assets_generated, 0), coalesce(whole.tokens_in, 0), coalesce(whole.tokens_out, 0), coalesce(whole.cost_usd, 0))
        ORDER BY label, time_zone;

SELECT time_zone, earlier, later FROM (
            SELECT time_zone, day AS later,
                lag(day) OVER (PARTITION BY time_zone ORDER BY day) AS earlier
            FROM daily_rollup_total
        ) AS followed
        WHERE later - earlier > $1
        ORDER BY later DESC, time_zone;

SELECT created_at, id::text FROM campaign_metrics
        WHERE
        created_at >= (
            SELECT min($1::timestamp AT TIME ZONE name) - interval '2 hours'
            FROM unnest($2::text[]) AS name
        )
        AND created_at < (
            SELECT max(($3::timestamp + make_interval(days => $4))
                AT TIME ZONE name) + interval '2 hours'
            FROM unnest($2::text[]) AS name
        )
            AND (agents_successful > agents_total
                OR agents_total < 0 OR agents_total - agents_total <> 0 OR agents_successful < 0 OR agents_successful - agents_successful <> 0 OR assets_generated < 0 OR assets_generated - assets_generated <> 0 OR tokens_in < 0 OR tokens_in - tokens_in <> 0 OR tokens_out < 0 OR tokens_out - tokens_out <> 0 OR cost_usd < 0 OR cost_usd - cost_usd <> 0 OR latency_p95_ms < 0 OR latency_p95_ms - latency_p95_ms <> 0 OR latency_avg_ms < 0 OR latency_avg_ms - latency_avg_ms <> 0)
        ORDER BY created_at LIMIT 100;

SELECT made.day, made.time_zone, made.cost_usd, usual.cost
        FROM daily_rollup_total AS made
        CROSS JOIN LATERAL (
            SELECT percentile_cont(0.5) WITHIN GROUP (ORDER BY earlier.cost_usd)::numeric
                AS cost, count(*) AS days
            FROM daily_rollup_total AS earlier
            WHERE earlier.time_zone = made.time_zone AND earlier.runs > 0
                AND earlier.day IN (
                    SELECT made.day - 7 * number FROM generate_series(1, 8) AS number
                )
        ) AS usual
        WHERE made.day BETWEEN greatest($1::date, $2::date - 6) AND $2
            AND usual.days >= 3 AND made.cost_usd > 2 * usual.cost
        ORDER BY made.day, made.time_zone;

SELECT attname, format_type(atttypid, atttypmod), col_description(attrelid, attnum)
        FROM pg_attribute
        WHERE attrelid = to_regclass($1) AND attnum > 0 AND NOT attisdropped
        ORDER BY attnum;

DELETE FROM cost_forecast_training WHERE time_zone <> ALL($1);

SELECT day, cost_usd FROM daily_rollup_total
        WHERE time_zone = $1 AND day >= $2 AND day < $3
            AND computed_at >= (day + 1)::timestamp AT TIME ZONE $1
        ORDER BY day;

DELETE FROM cost_forecast_training
        WHERE time_zone = $1 AND made_on >= $2;

INSERT INTO cost_forecast_training (
            time_zone, made_on, made_at, model, reason, note, learnt_from, days_known,
            days_missing
        )
        VALUES (
            $1, $2, $3, $4, $5, $6,
            $7, $8, $9
        );

INSERT INTO cost_forecast_day (time_zone, made_on, day, cost_usd, low_50_usd, high_50_usd, low_80_usd, high_80_usd)
        SELECT $1, $2, given.*
        FROM unnest(
            $3::date[], $4::numeric[], $5::numeric[], $6::numeric[],
            $7::numeric[], $8::numeric[]
        ) AS given;

INSERT INTO cost_forecast_total (
            time_zone, made_on, horizon, first_day, last_day, spent_usd, cost_usd, low_50_usd, high_50_usd, low_80_usd, high_80_usd
        )
        SELECT $1, $2, given.*
        FROM unnest(
            $3::text[], $4::date[], $5::date[], $6::numeric[],
            $7::numeric[], $8::numeric[], $9::numeric[], $10::numeric[],
            $11::numeric[]
        ) AS given;

INSERT INTO cost_forecast_score (
            time_zone, made_on, model, is_used, trials, mase, sum_days, sum_error_pct,
            pinball_usd, days_tested, coverage_50_pct, coverage_80_pct, sums_tested,
            sum_coverage_50_pct, sum_coverage_80_pct
        )
        SELECT $1, $2, given.*
        FROM unnest(
            $3::text[], $4::boolean[], $5::integer[], $6::numeric[],
            $7::integer[], $8::numeric[], $9::numeric[], $10::integer[],
            $11::numeric[], $12::numeric[], $13::integer[], $14::numeric[],
            $15::numeric[]
        ) AS given;

SELECT day, computed_at FROM daily_rollup_total WHERE time_zone = $1;

SELECT week, greatest(computed_at, lag(computed_at) OVER (ORDER BY week))
            FROM weekly_rollup_total WHERE time_zone = $1;

SELECT count(*) FROM "weekly_campaign_rollup" AS source WHERE true AND source."week" >= '2024-12-02'::date::date AND source."week" <= '2024-12-02'::date::date AND source.time_zone = 'UTC';
