"""Text that tries to be more than text, in every column."""

import pytest
from hypothesis import strategies as st

from apex_pipeline_tests.support.ends import execute

SPITEFUL = [
    "'; DROP TABLE x--",
    "' OR '1'='1",
    "%s %(id)s %%",
    "{0.__class__}",
    "a')/x?$filter=1",
    "@odata.bind",
    "\r\n--batch_x--\r\n",
    '","apex_x":"1',
    "</script>",
    "$(reboot)`id`",
    "=1+1",
    "\u202e\ufeff\x7f",
]
# What the columns of text hold: Postgres knows no NUL, Dataverse counts UTF-16 units.
TEXT = st.sampled_from(SPITEFUL) | st.text(
    st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=16
)


@pytest.fixture
def text_columns(database_url):
    """An adopted table, whose campaign and run are text."""
    execute(database_url, "DROP VIEW campaign_metrics_pending CASCADE")
    execute(database_url, "DROP VIEW v_campaign_metrics_pending CASCADE")
    for name in ("campaign_id", "run_id"):
        execute(database_url, f"ALTER TABLE campaign_metrics ALTER {name} TYPE text")
    execute(
        database_url,
        "CREATE VIEW campaign_metrics_pending AS SELECT * FROM campaign_metrics WHERE"
        " exported_at IS NULL AND NOT EXISTS (SELECT FROM campaign_metrics_quarantine"
        " WHERE metric_id = campaign_metrics.id)",
    )
