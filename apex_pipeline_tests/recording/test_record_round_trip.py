"""Any record is either refused with all its problems, or arrives unchanged."""

import json
from datetime import UTC, datetime, timedelta, timezone
from decimal import Decimal
from typing import Any

from hypothesis import given, strategies as st

from apex_pipeline.errors import InvalidRecordError
from apex_pipeline.metrics import COLUMNS
from apex_pipeline.postgres.database import Database
from apex_pipeline.recording.fields import AGENTS
from apex_pipeline.recording.parsing import parse_json
from apex_pipeline.recording.record_writing import record
from apex_pipeline.sync.run import run_sync
from apex_pipeline.sync.run_options import SyncOptions
from apex_pipeline_tests.support.ends import (
    differences,
    emulator_settings,
    execute,
    query,
)
from apex_pipeline_tests.support.examples import examples
from apex_pipeline_tests.support.injected_text import TEXT, text_columns

__all__ = ["text_columns"]

# JSON of a value, with what the column then holds; None for what it cannot.
Case = tuple[str, Any]

ANYTHING_ELSE = ["null", "true", "[1]", '{"a":{}}', "NaN", "-Infinity"]


def round_half_up(number, places):
    return number.quantize(Decimal(places), "ROUND_HALF_UP")


def spoilt(*raw):
    """What no column of this type takes."""
    return st.sampled_from([(text, None) for text in (*ANYTHING_ELSE, *raw)])


def texts(longest):
    """Any text, and whether a column of this length can have it."""
    return TEXT.map(
        lambda text: (
            json.dumps(text),
            text
            if text.strip() and len(text.encode("utf-16-le")) <= 2 * longest
            else None,
        )
    )


COUNTS = st.integers(0, 2**31 - 1).flatmap(
    lambda n: st.sampled_from([(f"{n}{more}", n) for more in ("", ".0", "e0")])
)
COSTS = st.decimals(0, Decimal("99999.99999"), places=5).map(
    lambda d: (f"{d:f}", d)
) | st.floats(0, 99_000).map(
    lambda f: (repr(f), round_half_up(Decimal(repr(f)), "0.00001"))
)
RATES = st.decimals(0, 100, places=2).map(lambda d: (f"{d:f}", d))
INSTANTS = st.datetimes(
    datetime(1753, 1, 3),  # noqa: DTZ001  the zone is another argument
    datetime(2026, 1, 1),  # noqa: DTZ001
    timezones=st.just(UTC),
).flatmap(
    lambda at: st.sampled_from(
        [
            (json.dumps(at.astimezone(timezone(timedelta(hours=h))).isoformat()), at)
            for h in (0, 9, -11)
        ]
    )
)
COUNT_NAMES = [c.agents for c in COLUMNS if c.type.label == "whole number"]
GOOD = st.fixed_dictionaries(
    {
        "campaignId": texts(64),
        "runId": texts(64),
        "phase": texts(16),
        "costUSD": COSTS,
        **dict.fromkeys(COUNT_NAMES, COUNTS),
    },
    optional={"successRate": RATES, "createdAt": INSTANTS},
)
BAD_TIMES = ("2026-01-01T00:00:00", "1752-01-01T00:00:00Z", "9999-01-01T00:00:00Z")
BAD_COUNTS = ('"5"', "1.5", "-1", "2147483648", "1e999999999", "9" * 5000)
BAD = st.fixed_dictionaries(
    {},
    optional={
        **dict.fromkeys(["campaignId", "runId", "phase"], spoilt("7", '"a\\u0000"')),
        **dict.fromkeys(COUNT_NAMES, spoilt(*BAD_COUNTS)),
        "costUSD": spoilt("-0.001", "100000", "99999.999991", '"1.5"'),
        "successRate": spoilt("-0.01", "100.01", '"80"'),
        "createdAt": spoilt(*(f'"{time}"' for time in BAD_TIMES), "7", '"soon"'),
    },
)
RECORDS = GOOD | st.builds(dict.__or__, GOOD, BAD)


ABSENT = {("null", "successRate"), ("null", "createdAt")}


def wrong_names(case: dict[str, Case]) -> set[str]:
    """What is wrong with a record, by rules of the test's own."""
    wrong = {
        name
        for name, (raw, value) in case.items()
        if value is None and (raw, name) not in ABSENT
    }
    total, successful = (case[n][1] for n in ("agentsTotal", "agentsSuccessful"))
    if total is not None and successful is not None and successful > total:
        wrong.add("agentsSuccessful")
    return wrong


@given(written=st.lists(RECORDS, min_size=10, max_size=40))
@examples(6)
def test_a_record_is_told_all_that_is_wrong_or_arrives_as_it_is(
    store, emulator, database_url, text_columns, tmp_path, written
):
    """Nothing that is taken here can be refused by the sync, or changed on its way."""
    execute(database_url, "TRUNCATE campaign_metrics")
    emulator.reset()
    kept = {}
    with Database(database_url, application_name="tests") as database:
        for case in written:
            text = ",".join(f'"{name}":{raw}' for name, (raw, _) in case.items())
            try:
                recorded = record(database, parse_json(f"{{{text}}}"), AGENTS)
            except InvalidRecordError as error:
                told = {problem.split()[0] for problem in error.problems}
            else:
                told = set()
                kept[recorded.id] = case
            assert told == wrong_names(case)
    names = ", ".join(column.postgres for column in COLUMNS)
    rows = query(database_url, f"SELECT id, {names} FROM campaign_metrics")
    assert {key for key, *_ in rows} == set(kept)
    for key, *values in rows:
        for column, value in zip(COLUMNS, values, strict=True):
            raw, expected = kept[key].get(column.agents, ("null", None))
            if raw != "null":
                assert value == expected, column.agents
    report = run_sync(
        store, emulator_settings(emulator), tmp_path / "tokens.json", SyncOptions()
    )
    assert (report.failure, report.rejected) == (None, 0)
    assert differences(emulator, database_url) == []
