-- How far the comparison of rollups with their raw rows has come.
-- depends: 0020_analyst_views

CREATE TABLE IF NOT EXISTS rollup_comparison (
    single      boolean     PRIMARY KEY DEFAULT true CHECK (single),
    began_at    timestamptz NOT NULL,
    next_day    date,
    ended_at    timestamptz,
    lap_seconds double precision
);

COMMENT ON TABLE rollup_comparison IS
    'How far the comparison of all raw rows with what rollups were made of has come. It '
    'goes through the history once a day, a part at a time. One row.';
COMMENT ON COLUMN rollup_comparison.single IS
    'Keeps the table to one row.';
COMMENT ON COLUMN rollup_comparison.began_at IS
    'When the lap began that is under way, or that ended last.';
COMMENT ON COLUMN rollup_comparison.next_day IS
    'First day that the lap has not compared yet; null where it has ended.';
COMMENT ON COLUMN rollup_comparison.ended_at IS
    'When a lap ended last; null before the first.';
COMMENT ON COLUMN rollup_comparison.lap_seconds IS
    'How long that lap took, seconds; null before the first.';
