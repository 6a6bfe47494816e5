-- The forecast of each of the campaigns that carry most of the cost, beside the whole.
-- depends: 0021_rollup_comparison

CREATE TABLE IF NOT EXISTS cost_forecast_part (
    time_zone    text    NOT NULL,
    made_on      date    NOT NULL,
    campaign_id  text    NOT NULL,
    horizon      text    NOT NULL CHECK (horizon IN ('7d', '30d', '90d', 'month_end')),
    last_28d_usd numeric NOT NULL,
    model        text,
    note         text    NOT NULL,
    first_day    date    NOT NULL,
    last_day     date    NOT NULL,
    spent_usd    numeric NOT NULL,
    cost_usd     numeric NOT NULL,
    low_50_usd   numeric,
    high_50_usd  numeric,
    low_80_usd   numeric,
    high_80_usd  numeric,
    PRIMARY KEY (time_zone, made_on, campaign_id, horizon),
    FOREIGN KEY (time_zone, made_on) REFERENCES cost_forecast_training
        ON DELETE CASCADE,
    CHECK (first_day <= last_day),
    CHECK (0 <= spent_usd AND spent_usd <= cost_usd AND cost_usd < 'Infinity'),
    CHECK (low_50_usd <= cost_usd AND cost_usd <= high_50_usd),
    CHECK (spent_usd <= low_80_usd AND low_80_usd <= low_50_usd),
    CHECK (high_50_usd <= high_80_usd AND high_80_usd < 'Infinity')
);

COMMENT ON TABLE cost_forecast_part IS
    'Four sums for each training and campaign, of those that carry 90 % of the cost of 28 '
    'days; the others together are (others). The view cost_forecast_campaign has the '
    'newest.';
COMMENT ON COLUMN cost_forecast_part.time_zone IS
    'Time zone, by its IANA name, in which days begin and end.';
COMMENT ON COLUMN cost_forecast_part.made_on IS
    'Day on which the forecast was made.';
COMMENT ON COLUMN cost_forecast_part.campaign_id IS
    'Campaign, campaign_metrics.campaign_id as text; (others) for all that are not named.';
COMMENT ON COLUMN cost_forecast_part.horizon IS
    '7d, 30d or 90d for so many days ahead; month_end for the whole month.';
COMMENT ON COLUMN cost_forecast_part.last_28d_usd IS
    'What it cost in the 28 days before, US dollars.';
COMMENT ON COLUMN cost_forecast_part.model IS
    'Model that its forecast is made by; null where none of its days'' cost was known.';
COMMENT ON COLUMN cost_forecast_part.note IS
    'What limits its forecast, in words; empty where nothing does.';
COMMENT ON COLUMN cost_forecast_part.first_day IS
    'First day that is forecast.';
COMMENT ON COLUMN cost_forecast_part.last_day IS
    'Last day that is forecast.';
COMMENT ON COLUMN cost_forecast_part.spent_usd IS
    'What it had cost in the days of the month before first_day, US dollars, for '
    'month_end; zero for the others.';
COMMENT ON COLUMN cost_forecast_part.cost_usd IS
    'Forecast cost of the days from first_day to last_day and spent_usd together, US '
    'dollars.';
COMMENT ON COLUMN cost_forecast_part.low_50_usd IS
    'Lower end of the interval that is to hold half of all outcomes, US dollars; null '
    'where too few sums of the past are known.';
COMMENT ON COLUMN cost_forecast_part.high_50_usd IS
    'Upper end of that interval, US dollars.';
COMMENT ON COLUMN cost_forecast_part.low_80_usd IS
    'Lower end of the interval that is to hold 80 % of all outcomes, US dollars; null '
    'where too few sums of the past are known.';
COMMENT ON COLUMN cost_forecast_part.high_80_usd IS
    'Upper end of that interval, US dollars.';

CREATE OR REPLACE VIEW cost_forecast_campaign AS
WITH newest AS (
    SELECT DISTINCT ON (time_zone) time_zone, made_on
    FROM cost_forecast_training ORDER BY time_zone, made_on DESC
)
SELECT part.time_zone, part.campaign_id, named.name AS campaign_name, part.horizon,
    part.first_day, part.last_day, part.last_28d_usd, part.spent_usd, part.cost_usd,
    part.low_50_usd, part.high_50_usd, part.low_80_usd, part.high_80_usd, part.model,
    part.note, part.made_on,
    sum(part.cost_usd) OVER parts AS parts_usd, total.cost_usd AS whole_usd,
    sum(part.cost_usd) OVER parts - total.cost_usd AS difference_usd
FROM newest
JOIN cost_forecast_part AS part USING (time_zone, made_on)
JOIN cost_forecast_total AS total USING (time_zone, made_on, horizon)
LEFT JOIN campaign_name AS named ON named.campaign_id = part.campaign_id
WINDOW parts AS (PARTITION BY part.time_zone, part.horizon);

COMMENT ON VIEW cost_forecast_campaign IS
    'The newest forecast by campaign: four rows for each of those that carry 90 % of the '
    'cost of 28 days, and for the others together. Each is forecast by itself, so the '
    'parts do not add up to the whole; difference_usd says by how much.';
COMMENT ON COLUMN cost_forecast_campaign.campaign_name IS
    'What people call the campaign; null where campaign_name does not say.';
COMMENT ON COLUMN cost_forecast_campaign.parts_usd IS
    'Sum of cost_usd over all campaigns of this time zone and horizon, US dollars.';
COMMENT ON COLUMN cost_forecast_campaign.whole_usd IS
    'The forecast of all campaigns together, cost_forecast_horizon.cost_usd, US dollars.';
COMMENT ON COLUMN cost_forecast_campaign.difference_usd IS
    'parts_usd less whole_usd, US dollars.';

-- A column of a view is described as that of the table it comes from.
DO $$
DECLARE
    described record;
BEGIN
    FOR described IN
        SELECT seen.attname, col_description(source.attrelid, source.attnum) AS words
        FROM pg_attribute AS seen
        JOIN pg_attribute AS source ON source.attname = seen.attname
            AND source.attrelid = 'cost_forecast_part'::regclass AND source.attnum > 0
        WHERE seen.attrelid = 'cost_forecast_campaign'::regclass AND seen.attnum > 0
    LOOP
        EXECUTE format(
            'COMMENT ON COLUMN cost_forecast_campaign.%I IS %L', described.attname,
            described.words
        );
    END LOOP;
END
$$;

INSERT INTO analyst_object (name)
VALUES ('cost_forecast_campaign'), ('cost_forecast_part')
ON CONFLICT DO NOTHING;

DO $$
BEGIN
    PERFORM grant_analyst_access();
END
$$;
