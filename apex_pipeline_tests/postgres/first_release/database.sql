CREATE FUNCTION public.campaign_history(days integer, zone text DEFAULT 'UTC'::text) RETURNS TABLE(day date, is_computed boolean, runs bigint, agents_total numeric, agents_successful numeric, success_rate_pct numeric, assets_generated numeric, tokens_in numeric, tokens_out numeric, cost_usd numeric, cost_per_run_usd numeric, latency_avg_ms numeric, latency_p95_worst_ms numeric, latency_p95_median_ms numeric, slo_breach_pct numeric, runs_avg_7d numeric, success_rate_7d_pct numeric, assets_generated_avg_7d numeric, tokens_in_avg_7d numeric, tokens_out_avg_7d numeric, cost_avg_7d_usd numeric, latency_avg_7d_ms numeric, day_before date, runs_before bigint, success_rate_before_pct numeric, assets_generated_before numeric, tokens_in_before numeric, tokens_out_before numeric, cost_before_usd numeric, latency_avg_before_ms numeric)
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
CREATE FUNCTION public.grant_analyst_access() RETURNS text
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
CREATE TABLE public._yoyo_log (
    id character varying(36) NOT NULL,
    migration_hash character varying(64),
    migration_id character varying(255),
    operation character varying(10),
    username character varying(255),
    hostname character varying(255),
    comment character varying(255),
    created_at_utc timestamp without time zone
);
CREATE TABLE public._yoyo_migration (
    migration_hash character varying(64) NOT NULL,
    migration_id character varying(255),
    applied_at_utc timestamp without time zone
);
CREATE TABLE public._yoyo_version (
    version integer NOT NULL,
    installed_at_utc timestamp without time zone
);
CREATE TABLE public.adopted_record (
    metric_id uuid NOT NULL,
    record_id uuid NOT NULL,
    resource text NOT NULL,
    adopted_at timestamp with time zone NOT NULL
);
CREATE TABLE public.analyst_object (
    name text NOT NULL
);
CREATE VIEW public.campaign_history_30d AS
 SELECT day,
    is_computed,
    runs,
    agents_total,
    agents_successful,
    success_rate_pct,
    assets_generated,
    tokens_in,
    tokens_out,
    cost_usd,
    cost_per_run_usd,
    latency_avg_ms,
    latency_p95_worst_ms,
    latency_p95_median_ms,
    slo_breach_pct,
    runs_avg_7d,
    success_rate_7d_pct,
    assets_generated_avg_7d,
    tokens_in_avg_7d,
    tokens_out_avg_7d,
    cost_avg_7d_usd,
    latency_avg_7d_ms,
    day_before,
    runs_before,
    success_rate_before_pct,
    assets_generated_before,
    tokens_in_before,
    tokens_out_before,
    cost_before_usd,
    latency_avg_before_ms
   FROM public.campaign_history(30) campaign_history(day, is_computed, runs, agents_total, agents_successful, success_rate_pct, assets_generated, tokens_in, tokens_out, cost_usd, cost_per_run_usd, latency_avg_ms, latency_p95_worst_ms, latency_p95_median_ms, slo_breach_pct, runs_avg_7d, success_rate_7d_pct, assets_generated_avg_7d, tokens_in_avg_7d, tokens_out_avg_7d, cost_avg_7d_usd, latency_avg_7d_ms, day_before, runs_before, success_rate_before_pct, assets_generated_before, tokens_in_before, tokens_out_before, cost_before_usd, latency_avg_before_ms);
CREATE VIEW public.campaign_history_60d AS
 SELECT day,
    is_computed,
    runs,
    agents_total,
    agents_successful,
    success_rate_pct,
    assets_generated,
    tokens_in,
    tokens_out,
    cost_usd,
    cost_per_run_usd,
    latency_avg_ms,
    latency_p95_worst_ms,
    latency_p95_median_ms,
    slo_breach_pct,
    runs_avg_7d,
    success_rate_7d_pct,
    assets_generated_avg_7d,
    tokens_in_avg_7d,
    tokens_out_avg_7d,
    cost_avg_7d_usd,
    latency_avg_7d_ms,
    day_before,
    runs_before,
    success_rate_before_pct,
    assets_generated_before,
    tokens_in_before,
    tokens_out_before,
    cost_before_usd,
    latency_avg_before_ms
   FROM public.campaign_history(60) campaign_history(day, is_computed, runs, agents_total, agents_successful, success_rate_pct, assets_generated, tokens_in, tokens_out, cost_usd, cost_per_run_usd, latency_avg_ms, latency_p95_worst_ms, latency_p95_median_ms, slo_breach_pct, runs_avg_7d, success_rate_7d_pct, assets_generated_avg_7d, tokens_in_avg_7d, tokens_out_avg_7d, cost_avg_7d_usd, latency_avg_7d_ms, day_before, runs_before, success_rate_before_pct, assets_generated_before, tokens_in_before, tokens_out_before, cost_before_usd, latency_avg_before_ms);
CREATE VIEW public.campaign_history_90d AS
 SELECT day,
    is_computed,
    runs,
    agents_total,
    agents_successful,
    success_rate_pct,
    assets_generated,
    tokens_in,
    tokens_out,
    cost_usd,
    cost_per_run_usd,
    latency_avg_ms,
    latency_p95_worst_ms,
    latency_p95_median_ms,
    slo_breach_pct,
    runs_avg_7d,
    success_rate_7d_pct,
    assets_generated_avg_7d,
    tokens_in_avg_7d,
    tokens_out_avg_7d,
    cost_avg_7d_usd,
    latency_avg_7d_ms,
    day_before,
    runs_before,
    success_rate_before_pct,
    assets_generated_before,
    tokens_in_before,
    tokens_out_before,
    cost_before_usd,
    latency_avg_before_ms
   FROM public.campaign_history(90) campaign_history(day, is_computed, runs, agents_total, agents_successful, success_rate_pct, assets_generated, tokens_in, tokens_out, cost_usd, cost_per_run_usd, latency_avg_ms, latency_p95_worst_ms, latency_p95_median_ms, slo_breach_pct, runs_avg_7d, success_rate_7d_pct, assets_generated_avg_7d, tokens_in_avg_7d, tokens_out_avg_7d, cost_avg_7d_usd, latency_avg_7d_ms, day_before, runs_before, success_rate_before_pct, assets_generated_before, tokens_in_before, tokens_out_before, cost_before_usd, latency_avg_before_ms);
CREATE TABLE public.campaign_metrics (
    id uuid DEFAULT gen_random_uuid() NOT NULL,
    campaign_id uuid NOT NULL,
    run_id uuid NOT NULL,
    phase text DEFAULT '2-3'::text NOT NULL,
    agents_total integer NOT NULL,
    agents_successful integer NOT NULL,
    assets_generated integer NOT NULL,
    tokens_in integer NOT NULL,
    tokens_out integer NOT NULL,
    cost_usd numeric(10,5) NOT NULL,
    latency_p95_ms integer NOT NULL,
    latency_avg_ms integer NOT NULL,
    success_rate_pct numeric(5,2) NOT NULL,
    exported_at timestamp with time zone,
    created_at timestamp with time zone DEFAULT now() NOT NULL
);
CREATE TABLE public.campaign_metrics_quarantine (
    metric_id uuid NOT NULL,
    code text NOT NULL,
    message text NOT NULL,
    attempts integer NOT NULL,
    first_rejected_at timestamp with time zone NOT NULL,
    last_rejected_at timestamp with time zone NOT NULL,
    next_attempt_at timestamp with time zone NOT NULL,
    dropped_at timestamp with time zone,
    dropped_by text,
    drop_reason text,
    CONSTRAINT campaign_metrics_quarantine_attempts_check CHECK ((attempts > 0)),
    CONSTRAINT campaign_metrics_quarantine_check CHECK ((first_rejected_at <= last_rejected_at))
);
CREATE VIEW public.campaign_metrics_pending AS
 SELECT id,
    campaign_id,
    run_id,
    phase,
    agents_total,
    agents_successful,
    assets_generated,
    tokens_in,
    tokens_out,
    cost_usd,
    latency_p95_ms,
    latency_avg_ms,
    success_rate_pct,
    exported_at,
    created_at
   FROM public.campaign_metrics
  WHERE ((exported_at IS NULL) AND (NOT (EXISTS ( SELECT
           FROM public.campaign_metrics_quarantine
          WHERE ((campaign_metrics_quarantine.metric_id = campaign_metrics.id) AND (campaign_metrics_quarantine.next_attempt_at > now()))))));
CREATE TABLE public.cost_forecast_day (
    time_zone text NOT NULL,
    made_on date NOT NULL,
    day date NOT NULL,
    days_ahead integer GENERATED ALWAYS AS (((day - made_on) + 1)) STORED NOT NULL,
    cost_usd numeric NOT NULL,
    low_50_usd numeric,
    high_50_usd numeric,
    low_80_usd numeric,
    high_80_usd numeric,
    CONSTRAINT cost_forecast_day_check CHECK ((day >= made_on)),
    CONSTRAINT cost_forecast_day_check1 CHECK (((low_50_usd <= cost_usd) AND (cost_usd <= high_50_usd))),
    CONSTRAINT cost_forecast_day_check2 CHECK ((((0)::numeric <= low_80_usd) AND (low_80_usd <= low_50_usd))),
    CONSTRAINT cost_forecast_day_check3 CHECK (((high_50_usd <= high_80_usd) AND (high_80_usd < 'Infinity'::numeric))),
    CONSTRAINT cost_forecast_day_cost_usd_check CHECK (((cost_usd >= (0)::numeric) AND (cost_usd < 'Infinity'::numeric)))
);
CREATE TABLE public.cost_forecast_score (
    time_zone text NOT NULL,
    made_on date NOT NULL,
    model text NOT NULL,
    is_used boolean NOT NULL,
    trials integer NOT NULL,
    mase numeric,
    sum_days integer,
    sum_error_pct numeric,
    pinball_usd numeric,
    days_tested integer NOT NULL,
    coverage_50_pct numeric,
    coverage_80_pct numeric,
    sums_tested integer NOT NULL,
    sum_coverage_50_pct numeric,
    sum_coverage_80_pct numeric
);
CREATE TABLE public.cost_forecast_training (
    time_zone text NOT NULL,
    made_on date NOT NULL,
    made_at timestamp with time zone DEFAULT now() NOT NULL,
    model text,
    reason text NOT NULL,
    note text NOT NULL,
    learnt_from date NOT NULL,
    days_known integer NOT NULL,
    days_missing integer NOT NULL
);
CREATE VIEW public.cost_forecast AS
 WITH newest AS (
         SELECT DISTINCT ON (cost_forecast_training.time_zone) cost_forecast_training.time_zone,
            cost_forecast_training.made_on,
            cost_forecast_training.made_at,
            cost_forecast_training.model
           FROM public.cost_forecast_training
          ORDER BY cost_forecast_training.time_zone, cost_forecast_training.made_on DESC
        )
 SELECT ahead.time_zone,
    ahead.day,
    ahead.days_ahead,
    ahead.cost_usd,
    ahead.low_50_usd,
    ahead.high_50_usd,
    ahead.low_80_usd,
    ahead.high_80_usd,
    newest.model,
    score.coverage_50_pct,
    score.coverage_80_pct,
    newest.made_on,
    newest.made_at
   FROM ((newest
     JOIN public.cost_forecast_day ahead USING (time_zone, made_on))
     LEFT JOIN public.cost_forecast_score score ON (((score.time_zone = newest.time_zone) AND (score.made_on = newest.made_on) AND score.is_used)));
CREATE TABLE public.cost_forecast_total (
    time_zone text NOT NULL,
    made_on date NOT NULL,
    horizon text NOT NULL,
    first_day date NOT NULL,
    last_day date NOT NULL,
    spent_usd numeric NOT NULL,
    cost_usd numeric NOT NULL,
    low_50_usd numeric,
    high_50_usd numeric,
    low_80_usd numeric,
    high_80_usd numeric,
    CONSTRAINT cost_forecast_total_check CHECK ((first_day <= last_day)),
    CONSTRAINT cost_forecast_total_check1 CHECK ((((0)::numeric <= spent_usd) AND (spent_usd <= cost_usd) AND (cost_usd < 'Infinity'::numeric))),
    CONSTRAINT cost_forecast_total_check2 CHECK (((low_50_usd <= cost_usd) AND (cost_usd <= high_50_usd))),
    CONSTRAINT cost_forecast_total_check3 CHECK (((spent_usd <= low_80_usd) AND (low_80_usd <= low_50_usd))),
    CONSTRAINT cost_forecast_total_check4 CHECK (((high_50_usd <= high_80_usd) AND (high_80_usd < 'Infinity'::numeric))),
    CONSTRAINT cost_forecast_total_horizon_check CHECK ((horizon = ANY (ARRAY['7d'::text, '30d'::text, '90d'::text, 'month_end'::text])))
);
CREATE VIEW public.cost_forecast_horizon AS
 WITH newest AS (
         SELECT DISTINCT ON (cost_forecast_training.time_zone) cost_forecast_training.time_zone,
            cost_forecast_training.made_on,
            cost_forecast_training.made_at,
            cost_forecast_training.model
           FROM public.cost_forecast_training
          ORDER BY cost_forecast_training.time_zone, cost_forecast_training.made_on DESC
        )
 SELECT total.time_zone,
    total.horizon,
    total.first_day,
    total.last_day,
    total.spent_usd,
    total.cost_usd,
    total.low_50_usd,
    total.high_50_usd,
    total.low_80_usd,
    total.high_80_usd,
    newest.model,
    score.sum_days,
    score.sum_error_pct,
    score.sum_coverage_50_pct,
    score.sum_coverage_80_pct,
    newest.made_on,
    newest.made_at
   FROM ((newest
     JOIN public.cost_forecast_total total USING (time_zone, made_on))
     LEFT JOIN public.cost_forecast_score score ON (((score.time_zone = newest.time_zone) AND (score.made_on = newest.made_on) AND score.is_used)));
CREATE TABLE public.daily_rollup_total (
    time_zone text CONSTRAINT daily_campaign_rollup_time_zone_not_null NOT NULL,
    day date CONSTRAINT daily_campaign_rollup_day_not_null NOT NULL,
    runs bigint CONSTRAINT daily_campaign_rollup_runs_not_null NOT NULL,
    agents_total numeric CONSTRAINT daily_campaign_rollup_agents_total_not_null NOT NULL,
    agents_successful numeric CONSTRAINT daily_campaign_rollup_agents_successful_not_null NOT NULL,
    success_rate_pct numeric,
    assets_generated numeric CONSTRAINT daily_campaign_rollup_assets_generated_not_null NOT NULL,
    assets_per_run numeric,
    tokens_in numeric CONSTRAINT daily_campaign_rollup_tokens_in_not_null NOT NULL,
    tokens_out numeric CONSTRAINT daily_campaign_rollup_tokens_out_not_null NOT NULL,
    cost_usd numeric CONSTRAINT daily_campaign_rollup_cost_usd_not_null NOT NULL,
    cost_per_run_usd numeric,
    cost_per_asset_usd numeric,
    latency_avg_ms numeric,
    latency_p95_worst_ms numeric,
    latency_p95_median_ms numeric,
    slo_p95_ms integer,
    slo_breach_pct numeric,
    first_run_at timestamp with time zone,
    last_run_at timestamp with time zone,
    computed_at timestamp with time zone DEFAULT now() CONSTRAINT daily_campaign_rollup_computed_at_not_null NOT NULL
);
CREATE VIEW public.cost_forecast_outcome AS
 SELECT ahead.time_zone,
    ahead.made_on,
    ahead.day,
    ahead.days_ahead,
    ahead.cost_usd,
    ahead.low_50_usd,
    ahead.high_50_usd,
    ahead.low_80_usd,
    ahead.high_80_usd,
    total.cost_usd AS actual_usd,
    (total.cost_usd - ahead.cost_usd) AS error_usd,
    ((total.cost_usd >= ahead.low_50_usd) AND (total.cost_usd <= ahead.high_50_usd)) AS is_inside_50,
    ((total.cost_usd >= ahead.low_80_usd) AND (total.cost_usd <= ahead.high_80_usd)) AS is_inside_80
   FROM (public.cost_forecast_day ahead
     JOIN public.daily_rollup_total total USING (time_zone, day))
  WHERE (ahead.day < ((now() AT TIME ZONE ahead.time_zone))::date);
CREATE TABLE public.daily_campaign_rollup (
    time_zone text CONSTRAINT daily_campaign_rollup_time_zone_not_null1 NOT NULL,
    day date CONSTRAINT daily_campaign_rollup_day_not_null1 NOT NULL,
    campaign_id text NOT NULL,
    phase text NOT NULL,
    runs bigint CONSTRAINT daily_campaign_rollup_runs_not_null1 NOT NULL,
    agents_total numeric CONSTRAINT daily_campaign_rollup_agents_total_not_null1 NOT NULL,
    agents_successful numeric CONSTRAINT daily_campaign_rollup_agents_successful_not_null1 NOT NULL,
    success_rate_pct numeric,
    assets_generated numeric CONSTRAINT daily_campaign_rollup_assets_generated_not_null1 NOT NULL,
    assets_per_run numeric,
    tokens_in numeric CONSTRAINT daily_campaign_rollup_tokens_in_not_null1 NOT NULL,
    tokens_out numeric CONSTRAINT daily_campaign_rollup_tokens_out_not_null1 NOT NULL,
    cost_usd numeric CONSTRAINT daily_campaign_rollup_cost_usd_not_null1 NOT NULL,
    cost_per_run_usd numeric,
    cost_per_asset_usd numeric,
    latency_avg_ms numeric,
    latency_p95_worst_ms numeric,
    latency_p95_median_ms numeric,
    slo_p95_ms integer,
    slo_breach_pct numeric,
    first_run_at timestamp with time zone,
    last_run_at timestamp with time zone,
    computed_at timestamp with time zone DEFAULT now() CONSTRAINT daily_campaign_rollup_computed_at_not_null1 NOT NULL
);
CREATE TABLE public.foreign_record (
    resource text NOT NULL,
    record_id uuid NOT NULL,
    campaign_id text NOT NULL,
    run_id text NOT NULL,
    phase text NOT NULL,
    created_second bigint,
    candidates bigint NOT NULL,
    metric_id uuid,
    is_row_missing boolean DEFAULT false NOT NULL,
    first_seen_at timestamp with time zone NOT NULL,
    last_seen_at timestamp with time zone NOT NULL,
    CONSTRAINT foreign_record_candidates_check CHECK ((candidates >= 0))
);
CREATE TABLE public.reconciliation_finding (
    resource text NOT NULL,
    metric_id uuid NOT NULL,
    kind text NOT NULL,
    columns text[] DEFAULT '{}'::text[] NOT NULL,
    exported_at timestamp with time zone NOT NULL,
    first_found_at timestamp with time zone NOT NULL,
    last_found_at timestamp with time zone NOT NULL,
    CONSTRAINT reconciliation_finding_kind_check CHECK ((kind = ANY (ARRAY['missing'::text, 'different'::text])))
);
CREATE VIEW public.dataverse_finding AS
 SELECT reconciliation_finding.resource,
    reconciliation_finding.kind,
    (reconciliation_finding.metric_id)::text AS metric_id,
    NULL::text AS record_id,
    reconciliation_finding.columns,
    reconciliation_finding.first_found_at
   FROM public.reconciliation_finding
UNION ALL
 SELECT found.resource,
        CASE
            WHEN (found.candidates = 0) THEN 'unknown'::text
            WHEN (found.candidates > 1) THEN 'ambiguous'::text
            WHEN (metric.id IS NULL) THEN 'unknown'::text
            WHEN ((metric.exported_at IS NOT NULL) AND (NOT found.is_row_missing)) THEN 'double'::text
            WHEN (count(*) OVER (PARTITION BY found.resource, found.metric_id) > 1) THEN 'ambiguous'::text
            ELSE 'other_flow'::text
        END AS kind,
    (found.metric_id)::text AS metric_id,
    (found.record_id)::text AS record_id,
    '{}'::text[] AS columns,
    found.first_seen_at AS first_found_at
   FROM (public.foreign_record found
     LEFT JOIN public.campaign_metrics metric ON ((metric.id = found.metric_id)));
CREATE TABLE public.dataverse_pacing (
    key text NOT NULL,
    state jsonb NOT NULL,
    retry_at timestamp with time zone,
    updated_at timestamp with time zone NOT NULL
);
CREATE TABLE public.dataverse_target (
    resource text NOT NULL,
    first_delivered_at timestamp with time zone,
    duplicates_accepted_at timestamp with time zone,
    records_adopted_at timestamp with time zone
);
CREATE VIEW public.quarantined_campaign_metrics AS
 SELECT metric_id,
    code,
    message,
    attempts,
    first_rejected_at,
    last_rejected_at,
    next_attempt_at,
    dropped_at,
    dropped_by,
    drop_reason,
    (next_attempt_at = 'infinity'::timestamp with time zone) AS is_dropped
   FROM public.campaign_metrics_quarantine
  WHERE (EXISTS ( SELECT
           FROM public.campaign_metrics
          WHERE ((campaign_metrics.id = campaign_metrics_quarantine.metric_id) AND (campaign_metrics.exported_at IS NULL))));
CREATE TABLE public.reconciliation_progress (
    resource text NOT NULL,
    tracking_link text,
    is_tracking boolean DEFAULT false NOT NULL,
    exported_since timestamp with time zone,
    pass_is_full boolean DEFAULT true NOT NULL,
    pass_started_at timestamp with time zone,
    pass_second bigint,
    pass_after_id text,
    pass_rows bigint DEFAULT 0 NOT NULL,
    last_pass_finished_at timestamp with time zone,
    last_pass_rows bigint DEFAULT 0 NOT NULL,
    CONSTRAINT reconciliation_progress_last_pass_rows_check CHECK ((last_pass_rows >= 0)),
    CONSTRAINT reconciliation_progress_pass_rows_check CHECK ((pass_rows >= 0))
);
CREATE TABLE public.reconciliation_run (
    id bigint NOT NULL,
    resource text NOT NULL,
    started_at timestamp with time zone NOT NULL,
    finished_at timestamp with time zone,
    status text DEFAULT 'running'::text NOT NULL,
    is_complete boolean DEFAULT false NOT NULL,
    rows_compared bigint DEFAULT 0 NOT NULL,
    changes_read bigint DEFAULT 0 NOT NULL,
    missing bigint,
    different bigint,
    unknown bigint,
    double bigint,
    other_flow bigint,
    ambiguous bigint,
    repaired bigint DEFAULT 0 NOT NULL,
    adopted bigint DEFAULT 0 NOT NULL,
    requests bigint DEFAULT 0 NOT NULL,
    throttled_seconds double precision DEFAULT 0 NOT NULL,
    host text NOT NULL,
    dagster_run_id text,
    note text,
    error text,
    CONSTRAINT reconciliation_run_adopted_check CHECK ((adopted >= 0)),
    CONSTRAINT reconciliation_run_ambiguous_check CHECK ((ambiguous >= 0)),
    CONSTRAINT reconciliation_run_changes_read_check CHECK ((changes_read >= 0)),
    CONSTRAINT reconciliation_run_check CHECK (((status = 'running'::text) = (finished_at IS NULL))),
    CONSTRAINT reconciliation_run_different_check CHECK ((different >= 0)),
    CONSTRAINT reconciliation_run_double_check CHECK ((double >= 0)),
    CONSTRAINT reconciliation_run_missing_check CHECK ((missing >= 0)),
    CONSTRAINT reconciliation_run_other_flow_check CHECK ((other_flow >= 0)),
    CONSTRAINT reconciliation_run_repaired_check CHECK ((repaired >= 0)),
    CONSTRAINT reconciliation_run_requests_check CHECK ((requests >= 0)),
    CONSTRAINT reconciliation_run_rows_compared_check CHECK ((rows_compared >= 0)),
    CONSTRAINT reconciliation_run_status_check CHECK ((status = ANY (ARRAY['running'::text, 'success'::text, 'failure'::text, 'interrupted'::text]))),
    CONSTRAINT reconciliation_run_throttled_seconds_check CHECK ((throttled_seconds >= (0)::double precision)),
    CONSTRAINT reconciliation_run_unknown_check CHECK ((unknown >= 0))
);
ALTER TABLE public.reconciliation_run ALTER COLUMN id ADD GENERATED ALWAYS AS IDENTITY (
    SEQUENCE NAME public.reconciliation_run_id_seq
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1
);
CREATE TABLE public.rollup_history (
    single boolean DEFAULT true NOT NULL,
    first_day date NOT NULL,
    CONSTRAINT rollup_history_single_check CHECK (single)
);
CREATE TABLE public.rollup_source (
    grain text NOT NULL,
    time_zone text NOT NULL,
    starts_on date NOT NULL,
    raw_rows bigint NOT NULL,
    raw_checksum numeric NOT NULL,
    CONSTRAINT rollup_source_grain_check CHECK ((grain = ANY (ARRAY['day'::text, 'week'::text])))
);
CREATE TABLE public.sync_run (
    id bigint NOT NULL,
    started_at timestamp with time zone NOT NULL,
    finished_at timestamp with time zone,
    status text DEFAULT 'running'::text NOT NULL,
    rows_read integer DEFAULT 0 NOT NULL,
    delivered integer DEFAULT 0 NOT NULL,
    rejected integer DEFAULT 0 NOT NULL,
    remaining integer,
    requests integer DEFAULT 0 NOT NULL,
    throttled_seconds double precision DEFAULT 0 NOT NULL,
    token_cache_hits integer DEFAULT 0 NOT NULL,
    token_cache_misses integer DEFAULT 0 NOT NULL,
    oldest_pending_age_seconds double precision,
    host text NOT NULL,
    dagster_run_id text,
    retry_at timestamp with time zone,
    error text,
    CONSTRAINT sync_run_check CHECK (((status = 'running'::text) = (finished_at IS NULL))),
    CONSTRAINT sync_run_delivered_check CHECK ((delivered >= 0)),
    CONSTRAINT sync_run_rejected_check CHECK ((rejected >= 0)),
    CONSTRAINT sync_run_remaining_check CHECK ((remaining >= 0)),
    CONSTRAINT sync_run_requests_check CHECK ((requests >= 0)),
    CONSTRAINT sync_run_rows_read_check CHECK ((rows_read >= 0)),
    CONSTRAINT sync_run_status_check CHECK ((status = ANY (ARRAY['running'::text, 'success'::text, 'failure'::text, 'interrupted'::text]))),
    CONSTRAINT sync_run_throttled_seconds_check CHECK ((throttled_seconds >= (0)::double precision)),
    CONSTRAINT sync_run_token_cache_hits_check CHECK ((token_cache_hits >= 0)),
    CONSTRAINT sync_run_token_cache_misses_check CHECK ((token_cache_misses >= 0))
);
ALTER TABLE public.sync_run ALTER COLUMN id ADD GENERATED ALWAYS AS IDENTITY (
    SEQUENCE NAME public.sync_run_id_seq
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1
);
CREATE VIEW public.v_campaign_metrics_pending AS
 SELECT id,
    campaign_id,
    run_id,
    phase,
    agents_total,
    agents_successful,
    assets_generated,
    tokens_in,
    tokens_out,
    cost_usd,
    latency_p95_ms,
    latency_avg_ms,
    success_rate_pct,
    exported_at,
    created_at
   FROM public.campaign_metrics
  WHERE (exported_at IS NULL);
CREATE TABLE public.weekly_campaign_rollup (
    time_zone text CONSTRAINT daily_campaign_rollup_time_zone_not_null NOT NULL,
    week date CONSTRAINT daily_campaign_rollup_day_not_null NOT NULL,
    campaign_id text CONSTRAINT daily_campaign_rollup_campaign_id_not_null NOT NULL,
    phase text CONSTRAINT daily_campaign_rollup_phase_not_null NOT NULL,
    runs bigint CONSTRAINT daily_campaign_rollup_runs_not_null NOT NULL,
    agents_total numeric CONSTRAINT daily_campaign_rollup_agents_total_not_null NOT NULL,
    agents_successful numeric CONSTRAINT daily_campaign_rollup_agents_successful_not_null NOT NULL,
    success_rate_pct numeric,
    assets_generated numeric CONSTRAINT daily_campaign_rollup_assets_generated_not_null NOT NULL,
    assets_per_run numeric,
    tokens_in numeric CONSTRAINT daily_campaign_rollup_tokens_in_not_null NOT NULL,
    tokens_out numeric CONSTRAINT daily_campaign_rollup_tokens_out_not_null NOT NULL,
    cost_usd numeric CONSTRAINT daily_campaign_rollup_cost_usd_not_null NOT NULL,
    cost_per_run_usd numeric,
    cost_per_asset_usd numeric,
    latency_avg_ms numeric,
    latency_p95_worst_ms numeric,
    latency_p95_median_ms numeric,
    slo_p95_ms integer,
    slo_breach_pct numeric,
    first_run_at timestamp with time zone,
    last_run_at timestamp with time zone,
    computed_at timestamp with time zone DEFAULT now() CONSTRAINT daily_campaign_rollup_computed_at_not_null NOT NULL,
    runs_change bigint,
    success_rate_change_points numeric,
    assets_generated_change numeric,
    tokens_in_change numeric,
    tokens_out_change numeric,
    cost_usd_change numeric,
    cost_usd_change_pct numeric,
    latency_avg_change_ms numeric,
    latency_p95_worst_change_ms numeric,
    latency_p95_median_change_ms numeric
);
CREATE TABLE public.weekly_rollup_total (
    time_zone text CONSTRAINT daily_campaign_rollup_time_zone_not_null NOT NULL,
    week date CONSTRAINT daily_campaign_rollup_day_not_null NOT NULL,
    runs bigint CONSTRAINT daily_campaign_rollup_runs_not_null NOT NULL,
    agents_total numeric CONSTRAINT daily_campaign_rollup_agents_total_not_null NOT NULL,
    agents_successful numeric CONSTRAINT daily_campaign_rollup_agents_successful_not_null NOT NULL,
    success_rate_pct numeric,
    assets_generated numeric CONSTRAINT daily_campaign_rollup_assets_generated_not_null NOT NULL,
    assets_per_run numeric,
    tokens_in numeric CONSTRAINT daily_campaign_rollup_tokens_in_not_null NOT NULL,
    tokens_out numeric CONSTRAINT daily_campaign_rollup_tokens_out_not_null NOT NULL,
    cost_usd numeric CONSTRAINT daily_campaign_rollup_cost_usd_not_null NOT NULL,
    cost_per_run_usd numeric,
    cost_per_asset_usd numeric,
    latency_avg_ms numeric,
    latency_p95_worst_ms numeric,
    latency_p95_median_ms numeric,
    slo_p95_ms integer,
    slo_breach_pct numeric,
    first_run_at timestamp with time zone,
    last_run_at timestamp with time zone,
    computed_at timestamp with time zone DEFAULT now() CONSTRAINT daily_campaign_rollup_computed_at_not_null NOT NULL,
    runs_change bigint,
    success_rate_change_points numeric,
    assets_generated_change numeric,
    tokens_in_change numeric,
    tokens_out_change numeric,
    cost_usd_change numeric,
    cost_usd_change_pct numeric,
    latency_avg_change_ms numeric,
    latency_p95_worst_change_ms numeric,
    latency_p95_median_change_ms numeric
);
CREATE TABLE public.yoyo_lock (
    locked integer DEFAULT 1 NOT NULL,
    ctime timestamp without time zone,
    pid integer NOT NULL
);
INSERT INTO public._yoyo_log VALUES
	('9ef504aa-d46f-4430-aa50-6ef3b0c94d20', '6f9817f9c65a64fc4e33092168bfa8efd74753f20463350d6368b3f9e8fe3a4f', '0001_campaign_metrics', 'apply', '0', 'vm', NULL, '2026-11-29 21:45:26.77767'),
	('8067a836-e571-4209-9ecc-b67cf7481c8a', '3924a162ca704aceb91ba73aea91dd2d20d10081fd237e17b0e895bc491a03e3', '0002_index_created_at', 'apply', '0', 'vm', NULL, '2026-11-29 21:45:26.920432'),
	('aa4c157a-77ab-4020-ba3c-f49c9502cfda', 'c34738cbf9a76d01b4cb85440d60dbdd0cc09f8fcdaec859974ec3b9d0fdb083', '0003_index_campaign_id', 'apply', '0', 'vm', NULL, '2026-11-29 21:45:27.045439'),
	('fd41f206-3ea4-426c-8dac-64bdafe5e987', '425a81a3204e263ea86df3d479e534de1a133cc6fa999d96f30a520ccb3da690', '0004_index_pending', 'apply', '0', 'vm', NULL, '2026-11-29 21:45:27.237521'),
	('bee7a63b-2ac7-4eda-890d-12dfe8156169', '3789218e417a530fe75d9d42ae01ad35c21376f6f4c1412bb4bc7e397ed26580', '0005_quarantine', 'apply', '0', 'vm', NULL, '2026-11-29 21:45:27.389744'),
	('65e14c2c-4160-4c77-944e-32ddfd5cae6e', 'e7e3bd80ccb156392bda1b57bff141f13cbb8050d297a16b0c14eeb7474c77ef', '0006_ledger', 'apply', '0', 'vm', NULL, '2026-11-29 21:45:27.585575'),
	('ff3b43f4-4149-492e-9172-e4e042d57910', 'ae11ee73d6ee87a83646d058b60b2d3b67774e8f27784857602d13724f40903e', '0007_rollups', 'apply', '0', 'vm', NULL, '2026-11-29 21:45:27.775924'),
	('cb365158-7ba8-49e6-953c-db0958c16c08', '364644a041e6ee356295e7a4c01552c003f318195588bc94bbec5e27deb64c34', '0008_campaign_history', 'apply', '0', 'vm', NULL, '2026-11-29 21:45:27.997529'),
	('8cdca31f-78b8-4650-8c3a-1866cbff54d0', '29eee6a11cc046ab86b35bc43c2dd9f6c5cadcc851b2ea6efa029bd54ab158b4', '0009_cost_forecast', 'apply', '0', 'vm', NULL, '2026-11-29 21:45:28.446921'),
	('82271ee8-e115-4b3b-8343-71752c0aad28', '659790f8548b6bf31e81f8d4263fc8d3c127b94922f472e259d7d8f5a9dcd5e2', '0010_dropped_rows', 'apply', '0', 'vm', NULL, '2026-11-29 21:45:28.645484'),
	('208e2435-796b-4715-a309-110c2a4e6333', 'a7deb638f62e53b10f94bdb2ea84188d1b6c9feba6753a2fae83f675664cc2e0', '0011_reconciliation', 'apply', '0', 'vm', NULL, '2026-11-29 21:45:29.479828');
INSERT INTO public._yoyo_migration VALUES
	('6f9817f9c65a64fc4e33092168bfa8efd74753f20463350d6368b3f9e8fe3a4f', '0001_campaign_metrics', '2026-11-29 21:45:26.789662'),
	('3924a162ca704aceb91ba73aea91dd2d20d10081fd237e17b0e895bc491a03e3', '0002_index_created_at', '2026-11-29 21:45:26.929848'),
	('c34738cbf9a76d01b4cb85440d60dbdd0cc09f8fcdaec859974ec3b9d0fdb083', '0003_index_campaign_id', '2026-11-29 21:45:27.099192'),
	('425a81a3204e263ea86df3d479e534de1a133cc6fa999d96f30a520ccb3da690', '0004_index_pending', '2026-11-29 21:45:27.255391'),
	('3789218e417a530fe75d9d42ae01ad35c21376f6f4c1412bb4bc7e397ed26580', '0005_quarantine', '2026-11-29 21:45:27.41364'),
	('e7e3bd80ccb156392bda1b57bff141f13cbb8050d297a16b0c14eeb7474c77ef', '0006_ledger', '2026-11-29 21:45:27.594728'),
	('ae11ee73d6ee87a83646d058b60b2d3b67774e8f27784857602d13724f40903e', '0007_rollups', '2026-11-29 21:45:27.801623'),
	('364644a041e6ee356295e7a4c01552c003f318195588bc94bbec5e27deb64c34', '0008_campaign_history', '2026-11-29 21:45:28.017303'),
	('29eee6a11cc046ab86b35bc43c2dd9f6c5cadcc851b2ea6efa029bd54ab158b4', '0009_cost_forecast', '2026-11-29 21:45:28.505287'),
	('659790f8548b6bf31e81f8d4263fc8d3c127b94922f472e259d7d8f5a9dcd5e2', '0010_dropped_rows', '2026-11-29 21:45:28.656961'),
	('a7deb638f62e53b10f94bdb2ea84188d1b6c9feba6753a2fae83f675664cc2e0', '0011_reconciliation', '2026-11-29 21:45:29.481016');
INSERT INTO public._yoyo_version VALUES
	(2, '2026-11-29 21:45:26.073346');
INSERT INTO public.analyst_object VALUES
	('daily_campaign_rollup'),
	('daily_rollup_total'),
	('weekly_campaign_rollup'),
	('weekly_rollup_total'),
	('campaign_history_30d'),
	('campaign_history_60d'),
	('campaign_history_90d'),
	('cost_forecast'),
	('cost_forecast_horizon'),
	('cost_forecast_outcome'),
	('cost_forecast_training'),
	('cost_forecast_day'),
	('cost_forecast_total'),
	('cost_forecast_score');
INSERT INTO public.campaign_metrics VALUES
	('97b586f5-9567-4fc3-9dae-1867f812b9d2', 'f4a1077e-01a9-4bec-a9ac-a692a6c16438', '60077d1d-5614-4f94-abb5-a174b0471343', '2-3', 28, 28, 70, 1037, 271, 0.00718, 1365, 890, 100.00, NULL, '2026-11-29 21:50:24.363098+00'),
	('34e582ec-5fde-44be-9ace-f5dc4b1b0034', 'f4a1077e-01a9-4bec-a9ac-a692a6c16438', '7115aa35-0c86-4911-9763-c4a5bfa862d6', '2-3', 29, 28, 69, 864, 213, 0.00579, 2135, 772, 96.55, NULL, '2026-11-29 21:50:50.273388+00'),
	('a68edbe9-ba52-4087-8f83-49b7ab695c17', '41683ea2-3b9b-48f8-bd0f-787a377f236e', '2d206957-7fe0-4404-841c-2df70b0f0596', '2-3', 14, 14, 34, 382, 52, 0.00193, 3022, 1311, 100.00, NULL, '2026-11-29 21:51:19.63137+00'),
	('f3c0c183-f989-4abb-a6f5-f6d17a3f7b90', 'c1c718de-8556-4dac-a583-d2c86e5d0dd2', 'd96ef32c-fac2-46ad-9cd9-58e862417177', '2-3', 34, 33, 86, 174108, 31382, 0.99305, 5359, 1920, 97.06, '2026-11-29 21:49:23.844392+00', '2026-11-29 05:47:28.876762+00'),
	('716c9627-b952-4f91-98cd-8cca18239cd9', 'f4a1077e-01a9-4bec-a9ac-a692a6c16438', 'f41d7cb0-8243-4c6c-adfb-2c159244cf98', '2-3', 33, 31, 65, 239034, 49382, 1.45783, 1963, 839, 93.94, '2026-11-29 21:49:23.844392+00', '2026-11-29 07:22:27.973007+00'),
	('bc7135a8-b638-4487-809d-eca450346ae1', '41683ea2-3b9b-48f8-bd0f-787a377f236e', '894a0431-0464-4b2b-94c3-d72373123f87', '2-3', 16, 14, 30, 109536, 14284, 0.54287, 2808, 1269, 87.50, '2026-11-29 21:49:23.844392+00', '2026-11-29 08:01:11.136551+00'),
	('db3daef9-f3b7-497d-a1bf-06359c984317', 'f4a1077e-01a9-4bec-a9ac-a692a6c16438', '5cb05809-d5a3-432b-a3aa-68dda990c18f', '2-3', 29, 28, 73, 256159, 35225, 1.29685, 1052, 682, 96.55, '2026-11-29 21:49:23.844392+00', '2026-11-29 08:31:38.336113+00'),
	('e3971749-8787-4ac9-9bab-abfa2d0e69e6', '41683ea2-3b9b-48f8-bd0f-787a377f236e', '665e2d26-db41-4fd5-ba1b-d46b256617dd', '2-3', 12, 12, 33, 80959, 10374, 0.39849, 2084, 1364, 100.00, '2026-11-29 21:49:23.844392+00', '2026-11-29 09:34:13.913861+00'),
	('8fc80bac-10fe-4ae0-b187-cf37ab970b0e', 'f4a1077e-01a9-4bec-a9ac-a692a6c16438', '35a55fef-eaca-4931-969a-760043f3b024', '2-3', 35, 33, 79, 282303, 53583, 1.65065, 1496, 656, 94.29, '2026-11-29 21:49:23.844392+00', '2026-11-29 09:53:31.47193+00'),
	('e6b5f8ff-bdf4-4b08-9701-31dc865e58ee', 'f4a1077e-01a9-4bec-a9ac-a692a6c16438', 'aaafd291-9cad-46af-b962-3a74257687be', '2-3', 24, 23, 61, 171500, 24058, 0.87537, 1580, 808, 95.83, '2026-11-29 21:49:23.844392+00', '2026-11-29 10:24:11.759865+00'),
	('bcb2ac5c-aff4-4829-b440-28f8120a0241', 'c1c718de-8556-4dac-a583-d2c86e5d0dd2', 'c5cb8400-5de1-4580-86f5-c50346067940', '2-3', 30, 30, 66, 230522, 52759, 1.48295, 3862, 2410, 100.00, '2026-11-29 21:49:23.844392+00', '2026-11-29 10:54:53.040661+00'),
	('799d9058-fc6c-48d7-b9d6-967ee4ebfd82', '41683ea2-3b9b-48f8-bd0f-787a377f236e', 'd2e90207-8e93-40d5-bce9-415a21f52d11', '2-3', 18, 18, 40, 179235, 40525, 1.14558, 4367, 1624, 100.00, '2026-11-29 21:49:23.844392+00', '2026-11-29 11:49:59.810328+00'),
	('622abc93-e483-41d4-8d45-2ae854c9a7fb', 'c1c718de-8556-4dac-a583-d2c86e5d0dd2', 'af0e5620-d53e-4e88-85dc-59ac37cc3f01', '2-3', 23, 22, 47, 192479, 48574, 1.30605, 7596, 2684, 95.65, '2026-11-29 21:49:23.844392+00', '2026-11-29 13:00:38.447917+00'),
	('f6ab5dee-605f-4c52-b161-b7fa10a32161', '41683ea2-3b9b-48f8-bd0f-787a377f236e', 'bd769a0c-3f77-49a6-944e-4f26820c10de', '2-3', 22, 22, 59, 105550, 21184, 0.63441, 2708, 1176, 100.00, '2026-11-29 21:49:23.844392+00', '2026-11-29 13:10:57.739235+00'),
	('4e996605-057e-40bb-b1a1-4029a029eddd', 'f4a1077e-01a9-4bec-a9ac-a692a6c16438', '52a476bd-6a55-4da9-8ebd-eb27b54cb096', '2-3', 26, 25, 59, 178624, 38349, 1.11111, 2390, 1004, 96.15, '2026-11-29 21:49:23.844392+00', '2026-11-29 13:45:32.091195+00'),
	('39cb1738-ace2-4401-a0ae-1fe6a278ba64', 'f4a1077e-01a9-4bec-a9ac-a692a6c16438', '495814be-2169-4946-b613-78ef2fac6e52', '2-3', 24, 23, 61, 130785, 33262, 0.89128, 1568, 725, 95.83, '2026-11-29 21:49:23.844392+00', '2026-11-29 13:50:48.454804+00'),
	('cd5828b1-36a5-4c14-ae72-d1c6c8ac0c33', 'f4a1077e-01a9-4bec-a9ac-a692a6c16438', '44bdff7f-7acc-4293-81a3-bcb4424aefa4', '2-3', 37, 34, 95, 206869, 55272, 1.44969, 2151, 1107, 91.89, '2026-11-29 21:49:23.844392+00', '2026-11-29 14:17:07.915848+00'),
	('82e915ef-4b53-479a-b1e8-bfaf7fb8cc13', '41683ea2-3b9b-48f8-bd0f-787a377f236e', '9ee2dd1a-5fb0-4c0d-986c-40a3f7a587f8', '2-3', 16, 15, 41, 140144, 33268, 0.91945, 3962, 1524, 93.75, '2026-11-29 21:49:23.844392+00', '2026-11-29 14:24:58.809485+00'),
	('5d8166fb-bad3-46de-a3a3-53762a49888f', 'c1c718de-8556-4dac-a583-d2c86e5d0dd2', '471b2bae-68ea-485c-9e11-d8a7686ee959', '2-3', 34, 29, 80, 291285, 78635, 2.05338, 7328, 2637, 85.29, '2026-11-29 21:49:23.844392+00', '2026-11-29 14:30:15.84914+00'),
	('f98cf347-2d5c-48f9-822f-55f82bdfefc5', '41683ea2-3b9b-48f8-bd0f-787a377f236e', '74cb7353-1ebe-44df-8a61-4edd51baf94c', '2-3', 19, 19, 45, 103757, 19132, 0.59825, 3558, 1528, 100.00, '2026-11-29 21:49:23.844392+00', '2026-11-29 14:33:24.197817+00'),
	('4e5f5bbc-2b5a-41b0-a06b-1caa6d6ff854', 'f4a1077e-01a9-4bec-a9ac-a692a6c16438', '650a0ff6-43a0-446e-a637-5c8f0ac0907b', '2-3', 30, 29, 75, 287762, 34760, 1.38469, 2133, 718, 96.67, '2026-11-29 21:49:23.844392+00', '2026-11-29 14:37:32.011031+00'),
	('18d6a3fd-9128-496d-a8ac-52fa931f6e19', '41683ea2-3b9b-48f8-bd0f-787a377f236e', '9ce9456f-e74a-456f-a3e3-82c2de4ed819', '2-3', 17, 17, 41, 115730, 30095, 0.79862, 3117, 1210, 100.00, '2026-11-29 21:49:23.844392+00', '2026-11-29 15:12:01.780138+00'),
	('307d1aaa-5fc0-4b42-b4fd-a302c9a4efcf', 'c1c718de-8556-4dac-a583-d2c86e5d0dd2', '44898e78-03c7-47d9-af32-86c9f56d918a', '2-3', 27, 26, 68, 193456, 53297, 1.37982, 5563, 2213, 96.30, '2026-11-29 21:49:23.844392+00', '2026-11-29 17:39:50.602779+00'),
	('32398c6a-4035-48a6-ba4c-dde8bf523e43', 'f4a1077e-01a9-4bec-a9ac-a692a6c16438', '77640c49-0f2b-46ae-ae0d-3fb00a7d9223', '2-3', 32, 32, 91, 289018, 60406, 1.77314, 1742, 629, 100.00, '2026-11-29 21:49:23.844392+00', '2026-11-29 18:12:59.910529+00'),
	('15667365-1406-428e-a7cd-558f14c4246c', 'c1c718de-8556-4dac-a583-d2c86e5d0dd2', '067e7920-a0f6-47d3-b858-a6496c4d0327', '2-3', 34, 33, 91, 1266, 262, 0.00773, 8928, 3226, 97.06, '2026-11-29 21:50:21.770237+00', '2026-11-29 21:49:39.260085+00'),
	('937f72a9-9822-4a41-a2d9-00cad0da7627', '41683ea2-3b9b-48f8-bd0f-787a377f236e', '3ce967a7-3b2c-4770-a983-5d22c7e4c667', '2-3', 13, 12, 27, 343, 53, 0.00182, 3899, 2503, 92.31, '2026-11-29 21:50:21.770237+00', '2026-11-29 21:50:03.494175+00');
INSERT INTO public.cost_forecast_day VALUES
	('UTC', '2026-11-29', '2026-11-29', DEFAULT, 25.01243, 10.39786, 39.62701, 0.00000, 58.15635),
	('UTC', '2026-11-29', '2026-11-30', DEFAULT, 72.63022, 58.01565, 87.24480, 39.48630, 105.77414),
	('UTC', '2026-11-29', '2026-12-01', DEFAULT, 85.75815, 71.14358, 100.37273, 52.61424, 118.90207),
	('UTC', '2026-11-29', '2026-12-02', DEFAULT, 108.78610, 94.17152, 123.40067, 75.64218, 141.93001),
	('UTC', '2026-11-29', '2026-12-03', DEFAULT, 93.62407, 79.00949, 108.23864, 60.48015, 126.76799),
	('UTC', '2026-11-29', '2026-12-04', DEFAULT, 79.05530, 64.44072, 93.66987, 45.91138, 112.19922);
INSERT INTO public.cost_forecast_score VALUES
	('UTC', '2026-11-29', 'weekday_level', false, 25, 0.70989, 30, 30.32, 5.97884, 189, 51.85, 84.13, 0, NULL, NULL),
	('UTC', '2026-11-29', 'weekday_mean', true, 25, 0.68137, 30, 26.15, 6.19125, 189, 53.97, 80.42, 0, NULL, NULL),
	('UTC', '2026-11-29', 'seasonal_naive', false, 25, 0.81122, 30, 25.49, 6.96697, 189, 50.26, 75.66, 0, NULL, NULL);
INSERT INTO public.cost_forecast_total VALUES
	('UTC', '2026-11-29', '7d', '2026-11-29', '2026-12-05', 0.00000, 500.94140, 419.30803, 582.57478, 338.61804, 663.26477),
	('UTC', '2026-11-29', '30d', '2026-11-29', '2026-12-28', 0.00000, 2101.40828, 1659.68285, 2543.13371, 1471.52455, 2731.29201),
	('UTC', '2026-11-29', '90d', '2026-11-29', '2027-02-26', 0.00000, 6476.16313, NULL, NULL, NULL, NULL),
	('UTC', '2026-11-29', 'month_end', '2026-11-29', '2026-11-30', 2003.76562, 2101.40828, 2067.16948, 2135.64707, 2046.14285, 2156.67371);
INSERT INTO public.cost_forecast_training VALUES
	('UTC', '2026-11-29', '2026-11-29 21:51:04.682402+00', 'weekday_mean', 'weekday_mean erred less than weekday_level both in sums and by the day. weekday_level: sums of 30 days 30.3 %, MASE 0.71; weekday_mean: sums of 30 days 26.2 %, MASE 0.68; seasonal_naive: sums of 30 days 25.5 %, MASE 0.81.', 'No interval for 90d: fewer than 8 totals of that length can be tried on the past.', '2026-08-31', 90, 0);
INSERT INTO public.daily_campaign_rollup VALUES
	('UTC', '2026-11-28', '41683ea2-3b9b-48f8-bd0f-787a377f236e', '2-3', 8, 149, 146, 97.9866, 364, 45.5000, 1167141, 242109, 7.13305, 0.89163125, 0.01959629, 1259.329, 5223, 2733.5, NULL, NULL, '2026-11-28 06:27:06.301027+00', '2026-11-28 15:19:46.655839+00', '2026-11-29 21:47:42.294854+00'),
	('UTC', '2026-11-28', 'c1c718de-8556-4dac-a583-d2c86e5d0dd2', '2-3', 8, 229, 225, 98.2533, 537, 67.1250, 1937604, 440644, 12.42246, 1.55280750, 0.02313307, 2470.044, 8788, 4421.5, NULL, NULL, '2026-11-28 01:25:52.005189+00', '2026-11-28 15:38:55.044444+00', '2026-11-29 21:47:42.294854+00'),
	('UTC', '2026-11-28', 'f4a1077e-01a9-4bec-a9ac-a692a6c16438', '2-3', 12, 368, 355, 96.4674, 920, 76.6667, 3163777, 687949, 19.81058, 1.65088167, 0.02153324, 986.190, 3513, 2261.0, NULL, NULL, '2026-11-28 07:18:48.909173+00', '2026-11-28 18:04:23.781645+00', '2026-11-29 21:47:42.294854+00'),
	('UTC', '2026-11-29', '41683ea2-3b9b-48f8-bd0f-787a377f236e', '2-3', 10, 157, 152, 96.8153, 378, 37.8000, 979329, 190216, 5.79123, 0.57912300, 0.01532071, 1497.580, 4413, 3695.5, NULL, NULL, '2026-11-29 00:57:19.853875+00', '2026-11-29 21:50:03.494175+00', '2026-11-29 21:50:58.392641+00'),
	('UTC', '2026-11-29', 'c1c718de-8556-4dac-a583-d2c86e5d0dd2', '2-3', 6, 182, 173, 95.0549, 438, 73.0000, 1083116, 264909, 7.22298, 1.20383000, 0.01649082, 2518.709, 8928, 6445.5, NULL, NULL, '2026-11-29 05:47:28.876762+00', '2026-11-29 21:49:39.260085+00', '2026-11-29 21:50:58.392641+00'),
	('UTC', '2026-11-29', 'f4a1077e-01a9-4bec-a9ac-a692a6c16438', '2-3', 11, 327, 314, 96.0245, 798, 72.5455, 2043955, 384781, 11.90358, 1.08214364, 0.01491677, 805.064, 2390, 1742.0, NULL, NULL, '2026-11-29 07:22:27.973007+00', '2026-11-29 21:50:50.273388+00', '2026-11-29 21:50:58.392641+00');
INSERT INTO public.daily_rollup_total VALUES
	('UTC', '2026-11-28', 28, 746, 726, 97.3190, 1821, 65.0357, 6268522, 1370702, 39.36609, 1.40593179, 0.02161784, 1496.244, 8788, 2626.0, NULL, NULL, '2026-11-28 01:25:52.005189+00', '2026-11-28 18:04:23.781645+00', '2026-11-29 21:47:42.294854+00'),
	('UTC', '2026-11-29', 27, 666, 639, 95.9459, 1614, 59.7778, 4106400, 839906, 24.91779, 0.92288111, 0.01543853, 1436.608, 8928, 2808.0, NULL, NULL, '2026-11-29 00:57:19.853875+00', '2026-11-29 21:50:50.273388+00', '2026-11-29 21:50:58.392641+00');
INSERT INTO public.dataverse_pacing VALUES
	('https://localhost:58675 ccae71d0-5032-4d67-a458-eaa50725f692', '{"hint": 4, "seconds": [[60.0, 1.184], [55.0, 18.09], [0.0, 0.546]], "requests": [[60.0, 1.0], [55.0, 44.0], [0.0, 1.0]], "saved_at": 1795989021.801179, "paused_for": 0.0}', NULL, '2026-11-29 21:50:21.80193+00');
INSERT INTO public.dataverse_target VALUES
	('https://localhost:58675', '2026-11-29 21:49:15.257372+00', NULL, NULL);
INSERT INTO public.rollup_history VALUES
	(true, '2024-11-29');
INSERT INTO public.rollup_source VALUES
	('day', 'UTC', '2024-11-28', 0, 0),
	('day', 'UTC', '2024-11-29', 0, 0),
	('day', 'UTC', '2024-11-30', 0, 0),
	('day', 'UTC', '2024-12-01', 0, 0),
	('day', 'UTC', '2024-12-02', 0, 0),
	('day', 'UTC', '2024-12-03', 0, 0),
	('day', 'UTC', '2024-12-04', 0, 0),
	('day', 'UTC', '2024-12-05', 0, 0),
	('day', 'UTC', '2024-12-06', 0, 0),
	('day', 'UTC', '2024-12-07', 0, 0),
	('day', 'UTC', '2024-12-08', 0, 0),
	('day', 'UTC', '2024-12-09', 0, 0);
INSERT INTO public.sync_run OVERRIDING SYSTEM VALUE VALUES
	(1, '2026-11-29 21:49:15.257372+00', '2026-11-29 21:49:23.982405+00', 'success', 4367, 4367, 0, 0, 45, 0, 45, 0, 7775079.078727, 'vm', 'a86e5999-303c-4ab3-95c9-266890b301b3', NULL, NULL),
	(2, '2026-11-29 21:50:20.067079+00', '2026-11-29 21:50:21.826346+00', 'success', 2, 2, 0, 0, 1, 0, 1, 0, 40.806994, 'vm', 'a7c2c84f-ce90-4cda-b214-8524c9adaf69', NULL, NULL);
INSERT INTO public.weekly_campaign_rollup VALUES
	('UTC', '2026-11-16', '41683ea2-3b9b-48f8-bd0f-787a377f236e', '1', 76, 1375, 1323, 96.2182, 3249, 42.7500, 9247913, 1903288, 56.29308, 0.74069842, 0.01732628, 1352.467, 5376, 2996.5, NULL, NULL, '2026-11-16 15:33:37.563837+00', '2026-11-22 18:23:00.420286+00', '2026-11-29 21:48:23.627093+00', 76, NULL, 3249, 9247913, 1903288, 56.29308, NULL, NULL, NULL, NULL),
	('UTC', '2026-11-16', 'c1c718de-8556-4dac-a583-d2c86e5d0dd2', '2-3', 83, 2607, 2495, 95.7039, 6123, 73.7711, 17230186, 3406255, 102.78434, 1.23836554, 0.01678660, 2429.012, 11552, 5007.0, NULL, NULL, '2026-11-16 06:00:30.762754+00', '2026-11-22 12:07:40.02491+00', '2026-11-29 21:48:23.627093+00', -11, 2.6725, -630, -2217094, -492807, -14.04343, -12.0206, -89.120, -1342, -509.5),
	('UTC', '2026-11-16', 'f4a1077e-01a9-4bec-a9ac-a692a6c16438', '2-3', 159, 4595, 4450, 96.8444, 11079, 69.6792, 36560299, 7331799, 219.65787, 1.38149604, 0.01982651, 870.473, 4012, 1935.0, NULL, NULL, '2026-11-16 01:39:13.072668+00', '2026-11-22 17:34:13.081154+00', '2026-11-29 21:48:23.627093+00', 138, 0.5111, 9595, 31777727, 6384372, 191.09875, 669.1339, 20.355, 946, 20.0);
INSERT INTO public.weekly_rollup_total VALUES
	('UTC', '2026-11-16', 318, 8577, 8268, 96.3973, 20451, 64.3113, 63038398, 12641342, 378.73529, 1.19099148, 0.01851916, 1421.464, 11552, 2602.5, NULL, NULL, '2026-11-16 01:39:13.072668+00', '2026-11-22 18:23:00.420286+00', '2026-11-29 21:48:23.627093+00', -176, 1.9966, -8384, -48007873, -9674210, -289.13684, -43.2922, -419.498, -1342, -1345.0);
SELECT pg_catalog.setval('public.reconciliation_run_id_seq', 1, false);
SELECT pg_catalog.setval('public.sync_run_id_seq', 2, true);
ALTER TABLE ONLY public._yoyo_log
    ADD CONSTRAINT _yoyo_log_pkey PRIMARY KEY (id);
ALTER TABLE ONLY public._yoyo_migration
    ADD CONSTRAINT _yoyo_migration_pkey PRIMARY KEY (migration_hash);
ALTER TABLE ONLY public._yoyo_version
    ADD CONSTRAINT _yoyo_version_pkey PRIMARY KEY (version);
ALTER TABLE ONLY public.adopted_record
    ADD CONSTRAINT adopted_record_pkey PRIMARY KEY (metric_id);
ALTER TABLE ONLY public.adopted_record
    ADD CONSTRAINT adopted_record_record_id_key UNIQUE (record_id);
ALTER TABLE ONLY public.analyst_object
    ADD CONSTRAINT analyst_object_pkey PRIMARY KEY (name);
ALTER TABLE ONLY public.campaign_metrics
    ADD CONSTRAINT campaign_metrics_pkey PRIMARY KEY (id);
ALTER TABLE ONLY public.campaign_metrics_quarantine
    ADD CONSTRAINT campaign_metrics_quarantine_pkey PRIMARY KEY (metric_id);
ALTER TABLE ONLY public.cost_forecast_day
    ADD CONSTRAINT cost_forecast_day_pkey PRIMARY KEY (time_zone, made_on, day);
ALTER TABLE ONLY public.cost_forecast_score
    ADD CONSTRAINT cost_forecast_score_pkey PRIMARY KEY (time_zone, made_on, model);
ALTER TABLE ONLY public.cost_forecast_total
    ADD CONSTRAINT cost_forecast_total_pkey PRIMARY KEY (time_zone, made_on, horizon);
ALTER TABLE ONLY public.cost_forecast_training
    ADD CONSTRAINT cost_forecast_training_pkey PRIMARY KEY (time_zone, made_on);
ALTER TABLE ONLY public.daily_campaign_rollup
    ADD CONSTRAINT daily_campaign_rollup_pkey PRIMARY KEY (time_zone, day, campaign_id, phase);
ALTER TABLE ONLY public.daily_rollup_total
    ADD CONSTRAINT daily_rollup_total_pkey PRIMARY KEY (time_zone, day);
ALTER TABLE ONLY public.dataverse_pacing
    ADD CONSTRAINT dataverse_pacing_pkey PRIMARY KEY (key);
ALTER TABLE ONLY public.dataverse_target
    ADD CONSTRAINT dataverse_target_pkey PRIMARY KEY (resource);
ALTER TABLE ONLY public.foreign_record
    ADD CONSTRAINT foreign_record_pkey PRIMARY KEY (resource, record_id);
ALTER TABLE ONLY public.reconciliation_finding
    ADD CONSTRAINT reconciliation_finding_pkey PRIMARY KEY (resource, metric_id);
ALTER TABLE ONLY public.reconciliation_progress
    ADD CONSTRAINT reconciliation_progress_pkey PRIMARY KEY (resource);
ALTER TABLE ONLY public.reconciliation_run
    ADD CONSTRAINT reconciliation_run_pkey PRIMARY KEY (id);
ALTER TABLE ONLY public.rollup_history
    ADD CONSTRAINT rollup_history_pkey PRIMARY KEY (single);
ALTER TABLE ONLY public.rollup_source
    ADD CONSTRAINT rollup_source_pkey PRIMARY KEY (grain, time_zone, starts_on);
ALTER TABLE ONLY public.sync_run
    ADD CONSTRAINT sync_run_pkey PRIMARY KEY (id);
ALTER TABLE ONLY public.weekly_campaign_rollup
    ADD CONSTRAINT weekly_campaign_rollup_pkey PRIMARY KEY (time_zone, week, campaign_id, phase);
ALTER TABLE ONLY public.weekly_rollup_total
    ADD CONSTRAINT weekly_rollup_total_pkey PRIMARY KEY (time_zone, week);
ALTER TABLE ONLY public.yoyo_lock
    ADD CONSTRAINT yoyo_lock_pkey PRIMARY KEY (locked);
CREATE INDEX campaign_metrics_campaign_id_idx ON public.campaign_metrics USING btree (campaign_id);
CREATE INDEX campaign_metrics_created_at_idx ON public.campaign_metrics USING btree (created_at);
CREATE INDEX campaign_metrics_exported_idx ON public.campaign_metrics USING btree (exported_at) WHERE (exported_at IS NOT NULL);
CREATE INDEX campaign_metrics_pending_idx ON public.campaign_metrics USING btree (created_at, id) WHERE (exported_at IS NULL);
CREATE INDEX foreign_record_match_idx ON public.foreign_record USING btree (resource, run_id, campaign_id, phase, created_second);
CREATE INDEX foreign_record_metric_id_idx ON public.foreign_record USING btree (resource, metric_id);
ALTER TABLE ONLY public.cost_forecast_day
    ADD CONSTRAINT cost_forecast_day_time_zone_made_on_fkey FOREIGN KEY (time_zone, made_on) REFERENCES public.cost_forecast_training(time_zone, made_on) ON DELETE CASCADE;
ALTER TABLE ONLY public.cost_forecast_score
    ADD CONSTRAINT cost_forecast_score_time_zone_made_on_fkey FOREIGN KEY (time_zone, made_on) REFERENCES public.cost_forecast_training(time_zone, made_on) ON DELETE CASCADE;
ALTER TABLE ONLY public.cost_forecast_total
    ADD CONSTRAINT cost_forecast_total_time_zone_made_on_fkey FOREIGN KEY (time_zone, made_on) REFERENCES public.cost_forecast_training(time_zone, made_on) ON DELETE CASCADE;
