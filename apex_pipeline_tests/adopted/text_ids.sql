-- An older shape: text for UUIDs, floats, times without zone, nulls allowed, three
-- columns missing, no index but the key's.

CREATE TABLE campaign_metrics (
    id                text PRIMARY KEY DEFAULT gen_random_uuid()::text,
    campaign_id       character varying(64),
    run_id            text,
    agents_total      integer,
    agents_successful integer,
    assets_generated  integer,
    tokens_in         integer,
    tokens_out        integer,
    cost_usd          double precision,
    latency_p95_ms    double precision,
    success_rate_pct  double precision,
    created_at        timestamp DEFAULT now()
);

INSERT INTO campaign_metrics
SELECT
    id, gen_random_uuid()::text, gen_random_uuid()::text, 10, 9, 4, 1000, 100, 1.5, 900,
    90, created_at
FROM (VALUES
    ('00000000-0000-4000-8000-000000000001', '2025-01-01 10:00'::timestamp),
    ('00000000-0000-4000-8000-00000000000A', '2025-01-02 10:00'),
    ('00000000-0000-4000-8000-000000000003', NULL),
    ('00000000-0000-4000-8000-000000000004', NULL)
) AS rows (id, created_at);
