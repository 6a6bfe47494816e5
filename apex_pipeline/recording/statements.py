"""Statements that write each row once, for one record as for a million.

The given rows come from a relation with the columns of `campaign_metrics` plus `line`
and `dated`. The INSERT skips existing rows, and a second statement compares the skipped
ones afterwards. So if two writers use the same id, one writes and the other sees the
written row.
"""

from apex_pipeline.metrics import COLUMNS
from apex_pipeline.recording.fields import CREATED_AT

NAMES = tuple(column.postgres for column in COLUMNS)

LINES = "recorded_lines"
"""Temporary table of the rows of one file."""

# All values are text, which Postgres casts to each column's type.
_ONE = """
    (SELECT 1 AS line, CAST(%(dated)s AS boolean) AS dated, one.*
     FROM jsonb_populate_record(NULL::campaign_metrics, CAST(%(row)s AS jsonb)) AS one)
"""


def _differs(name: str) -> str:
    differs = f"known.{name} IS DISTINCT FROM given.{name}"
    # If the client gave no time, the database set it on the first write: do not compare.
    return f"(given.dated AND {differs})" if name == CREATED_AT else f"({differs})"


_GIVEN = ", ".join(
    f"coalesce(given.{name}, now())" if name == CREATED_AT else f"given.{name}"
    for name in NAMES
)
# Insert in the order of the ids: concurrent writers then cannot deadlock.
_INSERT = f"""
    INSERT INTO campaign_metrics (id, {", ".join(NAMES)})
    SELECT DISTINCT ON (given.id) given.id, {_GIVEN}
    FROM {{given}} AS given
    WHERE NOT EXISTS (
        SELECT FROM campaign_metrics AS known WHERE known.id = given.id
    )
    ORDER BY given.id, given.line
    ON CONFLICT DO NOTHING
"""  # noqa: S608  constants
_CONFLICTS = f"""
    SELECT given.line, CAST(given.id AS text) AS id, known.id IS NULL AS is_blocked,
        {", ".join(f"{_differs(name)} AS {name}" for name in NAMES)}
    FROM {{given}} AS given
    LEFT JOIN campaign_metrics AS known ON known.id = given.id
    WHERE known.id IS NULL OR {" OR ".join(_differs(name) for name in NAMES)}
    ORDER BY given.line
"""  # noqa: S608  constants

INSERT_ONE = _INSERT.format(given=_ONE)
"""Binds `row`, a JSON object of texts, and `dated`."""

CONFLICTS_OF_ONE = _CONFLICTS.format(given=_ONE)
"""Binds the same; returns a row if the existing row differs from the given one."""

MAKE_LINES = f"""
    CREATE TEMPORARY TABLE {LINES} ON COMMIT DROP AS
    SELECT CAST(0 AS bigint) AS line, false AS dated, id, {", ".join(NAMES)}
    FROM campaign_metrics
    WITH NO DATA
"""  # noqa: S608  constants
COPY_LINES = f"COPY {LINES} (line, dated, id, {', '.join(NAMES)}) FROM STDIN"
INSERT_LINES = _INSERT.format(given=LINES)
CONFLICTS_OF_LINES = _CONFLICTS.format(given=LINES)

SPELL_ONE = """
    SELECT CAST(id AS text) FROM campaign_metrics WHERE id = upper(%(id)s) LIMIT 1
"""
"""The id in upper case, if a table with text ids contains it in that form."""

SPELL_LINES = f"""
    UPDATE {LINES} SET id = upper(id)
    WHERE EXISTS (
        SELECT FROM campaign_metrics AS known WHERE known.id = upper({LINES}.id)
    )
"""  # noqa: S608  constants
