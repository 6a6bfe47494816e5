"""A number with its noun."""

import pytest

from apex_pipeline.texts.counted import counted


@pytest.mark.parametrize(
    ("count", "words"), [(0, "0 rows"), (1, "1 row"), (12_000, "12,000 rows")]
)
def test_one_is_singular(count, words):
    assert counted(count, "row") == words
