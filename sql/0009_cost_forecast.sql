-- What days to come will cost: each training with its days, totals and backtest, and
-- views of the newest.
-- depends: 0008_campaign_history

CREATE TABLE IF NOT EXISTS cost_forecast_training (
    time_zone    text        NOT NULL,
    made_on      date        NOT NULL,
    made_at      timestamptz NOT NULL DEFAULT now(),
    model        text,
    reason       text        NOT NULL,
    note         text        NOT NULL,
    learnt_from  date        NOT NULL,
    days_known   integer     NOT NULL,
    days_missing integer     NOT NULL,
    PRIMARY KEY (time_zone, made_on)
);

COMMENT ON TABLE cost_forecast_training IS
    'One row for each day on which a forecast was made: how, and from what. Made again on '
    'the same day, it replaces that day''s.';
COMMENT ON COLUMN cost_forecast_training.time_zone IS
    'Time zone, by its IANA name, in which days begin and end.';
COMMENT ON COLUMN cost_forecast_training.made_on IS
    'Day on which the forecast was made: its first day, since that was not over.';
COMMENT ON COLUMN cost_forecast_training.made_at IS
    'When it was made last on that day.';
COMMENT ON COLUMN cost_forecast_training.model IS
    'Model that the forecast is made by; null where no day''s cost was known.';
COMMENT ON COLUMN cost_forecast_training.reason IS
    'Why that model, in words.';
COMMENT ON COLUMN cost_forecast_training.note IS
    'What limits the forecast, in words; empty where nothing does.';
COMMENT ON COLUMN cost_forecast_training.learnt_from IS
    'First day that it was learnt from; the last is the day before made_on.';
COMMENT ON COLUMN cost_forecast_training.days_known IS
    'Days that it was learnt from, days without any cost among them.';
COMMENT ON COLUMN cost_forecast_training.days_missing IS
    'Days between whose cost is not known, which were not taken for days without cost.';

CREATE TABLE IF NOT EXISTS cost_forecast_day (
    time_zone   text    NOT NULL,
    made_on     date    NOT NULL,
    day         date    NOT NULL,
    days_ahead  integer NOT NULL GENERATED ALWAYS AS (day - made_on + 1) STORED,
    cost_usd    numeric NOT NULL,
    low_50_usd  numeric,
    high_50_usd numeric,
    low_80_usd  numeric,
    high_80_usd numeric,
    PRIMARY KEY (time_zone, made_on, day),
    FOREIGN KEY (time_zone, made_on) REFERENCES cost_forecast_training
        ON DELETE CASCADE,
    CHECK (day >= made_on),
    CHECK (cost_usd >= 0 AND cost_usd < 'Infinity'),
    CHECK (low_50_usd <= cost_usd AND cost_usd <= high_50_usd),
    CHECK (0 <= low_80_usd AND low_80_usd <= low_50_usd),
    CHECK (high_50_usd <= high_80_usd AND high_80_usd < 'Infinity')
);

COMMENT ON TABLE cost_forecast_day IS
    'One row for each day ahead of each training. The view cost_forecast has the newest.';
COMMENT ON COLUMN cost_forecast_day.time_zone IS
    'Time zone, by its IANA name, in which the day begins and ends.';
COMMENT ON COLUMN cost_forecast_day.made_on IS
    'Day on which the forecast was made.';
COMMENT ON COLUMN cost_forecast_day.day IS
    'Day that is forecast.';
COMMENT ON COLUMN cost_forecast_day.days_ahead IS
    '1 for the day on which the forecast was made, which was not over then.';
COMMENT ON COLUMN cost_forecast_day.cost_usd IS
    'Forecast cost of the day, US dollars.';
COMMENT ON COLUMN cost_forecast_day.low_50_usd IS
    'Lower end of the interval that is to hold half of all outcomes, US dollars; null '
    'where too few errors of the past are known.';
COMMENT ON COLUMN cost_forecast_day.high_50_usd IS
    'Upper end of that interval, US dollars.';
COMMENT ON COLUMN cost_forecast_day.low_80_usd IS
    'Lower end of the interval that is to hold 80 % of all outcomes, US dollars; null '
    'where too few errors of the past are known.';
COMMENT ON COLUMN cost_forecast_day.high_80_usd IS
    'Upper end of that interval, US dollars.';

CREATE TABLE IF NOT EXISTS cost_forecast_total (
    time_zone   text    NOT NULL,
    made_on     date    NOT NULL,
    horizon     text    NOT NULL CHECK (horizon IN ('7d', '30d', '90d', 'month_end')),
    first_day   date    NOT NULL,
    last_day    date    NOT NULL,
    spent_usd   numeric NOT NULL,
    cost_usd    numeric NOT NULL,
    low_50_usd  numeric,
    high_50_usd numeric,
    low_80_usd  numeric,
    high_80_usd numeric,
    PRIMARY KEY (time_zone, made_on, horizon),
    FOREIGN KEY (time_zone, made_on) REFERENCES cost_forecast_training
        ON DELETE CASCADE,
    CHECK (first_day <= last_day),
    CHECK (0 <= spent_usd AND spent_usd <= cost_usd AND cost_usd < 'Infinity'),
    CHECK (low_50_usd <= cost_usd AND cost_usd <= high_50_usd),
    CHECK (spent_usd <= low_80_usd AND low_80_usd <= low_50_usd),
    CHECK (high_50_usd <= high_80_usd AND high_80_usd < 'Infinity')
);

COMMENT ON TABLE cost_forecast_total IS
    'Four sums for each training: 7, 30 and 90 days, and the whole month. Their '
    'intervals are learnt from sums: those of days do not add up.';
COMMENT ON COLUMN cost_forecast_total.time_zone IS
    'Time zone, by its IANA name, in which days begin and end.';
COMMENT ON COLUMN cost_forecast_total.made_on IS
    'Day on which the forecast was made.';
COMMENT ON COLUMN cost_forecast_total.horizon IS
    '7d, 30d or 90d for so many days ahead; month_end for the whole month.';
COMMENT ON COLUMN cost_forecast_total.first_day IS
    'First day that is forecast.';
COMMENT ON COLUMN cost_forecast_total.last_day IS
    'Last day that is forecast.';
COMMENT ON COLUMN cost_forecast_total.spent_usd IS
    'What the days of the month before first_day had cost, US dollars, for month_end; '
    'zero for the others.';
COMMENT ON COLUMN cost_forecast_total.cost_usd IS
    'Forecast cost of the days from first_day to last_day and spent_usd together, US '
    'dollars.';
COMMENT ON COLUMN cost_forecast_total.low_50_usd IS
    'Lower end of the interval that is to hold half of all outcomes, US dollars; null '
    'where too few sums of the past are known.';
COMMENT ON COLUMN cost_forecast_total.high_50_usd IS
    'Upper end of that interval, US dollars.';
COMMENT ON COLUMN cost_forecast_total.low_80_usd IS
    'Lower end of the interval that is to hold 80 % of all outcomes, US dollars; null '
    'where too few sums of the past are known.';
COMMENT ON COLUMN cost_forecast_total.high_80_usd IS
    'Upper end of that interval, US dollars.';

CREATE TABLE IF NOT EXISTS cost_forecast_score (
    time_zone           text    NOT NULL,
    made_on             date    NOT NULL,
    model               text    NOT NULL,
    is_used             boolean NOT NULL,
    trials              integer NOT NULL,
    mase                numeric,
    sum_days            integer,
    sum_error_pct       numeric,
    pinball_usd         numeric,
    days_tested         integer NOT NULL,
    coverage_50_pct     numeric,
    coverage_80_pct     numeric,
    sums_tested         integer NOT NULL,
    sum_coverage_50_pct numeric,
    sum_coverage_80_pct numeric,
    PRIMARY KEY (time_zone, made_on, model),
    FOREIGN KEY (time_zone, made_on) REFERENCES cost_forecast_training
        ON DELETE CASCADE
);

COMMENT ON TABLE cost_forecast_score IS
    'One row for each training and model: how its forecasts would have done in the past, '
    'each made anew from what was known then. None where too few days were known.';
COMMENT ON COLUMN cost_forecast_score.time_zone IS
    'Time zone, by its IANA name, in which days begin and end.';
COMMENT ON COLUMN cost_forecast_score.made_on IS
    'Day of the training.';
COMMENT ON COLUMN cost_forecast_score.model IS
    'weekday_level: weekday profile times a smoothed level; weekday_mean: mean of each '
    'weekday over four weeks; seasonal_naive: the week before, repeated.';
COMMENT ON COLUMN cost_forecast_score.is_used IS
    'Whether the forecast is made by this model.';
COMMENT ON COLUMN cost_forecast_score.trials IS
    'Forecasts of the past that were made anew.';
COMMENT ON COLUMN cost_forecast_score.mase IS
    'Mean absolute error of a day up to 30 days ahead, in units of the difference to the '
    'day a week before; null where costs repeat exactly.';
COMMENT ON COLUMN cost_forecast_score.sum_days IS
    'Length in days of the sums that sum_error_pct compares: 30, or 7 in a short series; '
    'null where too few are known.';
COMMENT ON COLUMN cost_forecast_score.sum_error_pct IS
    'Absolute errors of those sums, in percent of the outcomes.';
COMMENT ON COLUMN cost_forecast_score.pinball_usd IS
    'Mean loss of the 10 %, 50 % and 90 % quantiles of a day, US dollars; less is better.';
COMMENT ON COLUMN cost_forecast_score.days_tested IS
    'Days of the past that met an interval made before them.';
COMMENT ON COLUMN cost_forecast_score.coverage_50_pct IS
    'Share of the days tested that were inside the 50 % interval, percent.';
COMMENT ON COLUMN cost_forecast_score.coverage_80_pct IS
    'Share of the days tested that were inside the 80 % interval, percent.';
COMMENT ON COLUMN cost_forecast_score.sums_tested IS
    'Sums of sum_days days of the past that met an interval made before them.';
COMMENT ON COLUMN cost_forecast_score.sum_coverage_50_pct IS
    'Share of the sums tested that were inside the 50 % interval, percent.';
COMMENT ON COLUMN cost_forecast_score.sum_coverage_80_pct IS
    'Share of the sums tested that were inside the 80 % interval, percent.';

CREATE OR REPLACE VIEW cost_forecast AS
WITH newest AS (
    SELECT DISTINCT ON (time_zone) time_zone, made_on, made_at, model
    FROM cost_forecast_training ORDER BY time_zone, made_on DESC
)
SELECT ahead.time_zone, ahead.day, ahead.days_ahead, ahead.cost_usd, ahead.low_50_usd,
    ahead.high_50_usd, ahead.low_80_usd, ahead.high_80_usd, newest.model,
    score.coverage_50_pct, score.coverage_80_pct, newest.made_on, newest.made_at
FROM newest
JOIN cost_forecast_day AS ahead USING (time_zone, made_on)
LEFT JOIN cost_forecast_score AS score
    ON score.time_zone = newest.time_zone AND score.made_on = newest.made_on
        AND score.is_used;

COMMENT ON VIEW cost_forecast IS
    'The newest forecast: one row for each of the next 90 days and time zone, with how '
    'often such intervals have held in the past.';

CREATE OR REPLACE VIEW cost_forecast_horizon AS
WITH newest AS (
    SELECT DISTINCT ON (time_zone) time_zone, made_on, made_at, model
    FROM cost_forecast_training ORDER BY time_zone, made_on DESC
)
SELECT total.time_zone, total.horizon, total.first_day, total.last_day,
    total.spent_usd, total.cost_usd, total.low_50_usd, total.high_50_usd,
    total.low_80_usd, total.high_80_usd, newest.model, score.sum_days,
    score.sum_error_pct, score.sum_coverage_50_pct, score.sum_coverage_80_pct,
    newest.made_on, newest.made_at
FROM newest
JOIN cost_forecast_total AS total USING (time_zone, made_on)
LEFT JOIN cost_forecast_score AS score
    ON score.time_zone = newest.time_zone AND score.made_on = newest.made_on
        AND score.is_used;

COMMENT ON VIEW cost_forecast_horizon IS
    'The sums of the newest forecast, by time zone: the next 7, 30 and 90 days, and the '
    'whole month. What is said of errors and coverage is of sums of sum_days days.';

CREATE OR REPLACE VIEW cost_forecast_outcome AS
SELECT ahead.time_zone, ahead.made_on, ahead.day, ahead.days_ahead, ahead.cost_usd,
    ahead.low_50_usd, ahead.high_50_usd, ahead.low_80_usd, ahead.high_80_usd,
    total.cost_usd AS actual_usd,
    total.cost_usd - ahead.cost_usd AS error_usd,
    total.cost_usd BETWEEN ahead.low_50_usd AND ahead.high_50_usd AS is_inside_50,
    total.cost_usd BETWEEN ahead.low_80_usd AND ahead.high_80_usd AS is_inside_80
FROM cost_forecast_day AS ahead
JOIN daily_rollup_total AS total USING (time_zone, day)
WHERE ahead.day < (now() AT TIME ZONE ahead.time_zone)::date;

COMMENT ON VIEW cost_forecast_outcome IS
    'Forecasts as they were made, and what came of them: one row for each training and '
    'each day of it that is over.';
COMMENT ON COLUMN cost_forecast_outcome.actual_usd IS
    'What the day did cost, US dollars.';
COMMENT ON COLUMN cost_forecast_outcome.error_usd IS
    'actual_usd less cost_usd, US dollars.';
COMMENT ON COLUMN cost_forecast_outcome.is_inside_50 IS
    'Whether actual_usd lies in the 50 % interval; null without one.';
COMMENT ON COLUMN cost_forecast_outcome.is_inside_80 IS
    'Whether actual_usd lies in the 80 % interval; null without one.';

-- A column of a view is described as that of the table it comes from.
DO $$
DECLARE
    described record;
BEGIN
    FOR described IN
        SELECT DISTINCT ON (seen.attrelid, seen.attname)
            seen.attrelid::regclass AS view_name, seen.attname,
            col_description(source.attrelid, source.attnum) AS words
        FROM unnest(
            ARRAY['cost_forecast', 'cost_forecast_horizon', 'cost_forecast_outcome'],
            ARRAY['cost_forecast_day', 'cost_forecast_total', 'cost_forecast_day']
        ) AS made (view_name, table_name)
        JOIN pg_attribute AS seen
            ON seen.attrelid = made.view_name::regclass AND seen.attnum > 0
        JOIN pg_attribute AS source
            ON source.attname = seen.attname AND source.attrelid IN (
                made.table_name::regclass, 'cost_forecast_training'::regclass,
                'cost_forecast_score'::regclass
            )
        ORDER BY seen.attrelid, seen.attname,
            source.attrelid <> made.table_name::regclass,
            source.attrelid <> 'cost_forecast_training'::regclass
    LOOP
        EXECUTE format(
            'COMMENT ON COLUMN %s.%I IS %L', described.view_name, described.attname,
            described.words
        );
    END LOOP;
END
$$;

INSERT INTO analyst_object (name)
VALUES
    ('cost_forecast'), ('cost_forecast_horizon'), ('cost_forecast_outcome'),
    ('cost_forecast_training'), ('cost_forecast_day'), ('cost_forecast_total'),
    ('cost_forecast_score')
ON CONFLICT DO NOTHING;

DO $$
BEGIN
    PERFORM grant_analyst_access();
END
$$;
