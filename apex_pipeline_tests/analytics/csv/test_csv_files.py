"""CSV files: what is written reads back as it was, and a file is whole or not there."""

import csv
import gzip
import io
import os
import signal
import stat
import subprocess
import sys
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal

import pandas as pd
import psycopg
import pytest
from hypothesis import example, given, strategies as st

from apex_pipeline.analytics.csv.csv_datasets import select
from apex_pipeline.analytics.csv.csv_files import count_rows, snapshot, write_csv
from apex_pipeline.analytics.csv.local_files import make_folder, replacing
from apex_pipeline.analytics.csv.on_request import export_selection
from apex_pipeline.errors import ApexError, SchemaMissingError
from apex_pipeline.postgres.database import Database
from apex_pipeline.settings import load_analysis_settings
from apex_pipeline_tests.support.csv_reading import RFC_4180, is_formula, original, rows
from apex_pipeline_tests.support.ends import (
    campaign_row,
    execute,
    insert,
    insert_many,
    query,
)
from apex_pipeline_tests.support.examples import examples
from apex_pipeline_tests.support.waiting import SECONDS

SETTINGS = load_analysis_settings({})
DAY = date(2026, 11, 25)


@pytest.fixture
def database(database_url):
    with Database(database_url, application_name="test") as opened:
        yield opened


def exported(database, name="daily", *, compress=False, **chosen) -> bytes:
    file = io.BytesIO()
    with snapshot(database) as connection:
        written = write_csv(
            connection, select(SETTINGS, name, **chosen), file, compress=compress
        )
    assert written.size == len(file.getvalue())
    return file.getvalue()


_EMPTY = {
    "time_zone": "UTC",
    "runs": 1,
    "agents_total": 0,
    "agents_successful": 0,
    "assets_generated": 0,
    "tokens_in": 0,
    "tokens_out": 0,
    "cost_usd": 0,
}


def fill(database_url, made):
    """Put rows into the daily rollup as they are."""
    with psycopg.connect(database_url) as connection:
        connection.execute("DELETE FROM daily_campaign_rollup")
        for row in made:
            columns = _EMPTY | row
            connection.execute(
                f"INSERT INTO daily_campaign_rollup ({', '.join(columns)}) "
                f"VALUES ({', '.join(['%s'] * len(columns))})",
                list(columns.values()),
            )


TELLING = st.sampled_from(
    [*"=+-@'\"\t\r\n;, a\u00e4\u00a0\uff1d\uff20", "\r\n", "=1+1", "\U0001f600"]
)
TEXT = st.lists(
    TELLING | st.characters(exclude_categories=["Cs"], exclude_characters="\0"),
    max_size=8,
).map("".join)
NUMBER = st.decimals(-(10**30), 10**30, allow_nan=False)
# Without a time zone here: Hypothesis adds it.
INSTANT = st.datetimes(
    datetime(1, 1, 2),  # noqa: DTZ001  as said
    datetime(9999, 12, 30),  # noqa: DTZ001  as said
    timezones=st.just(UTC),
)


@examples(40)
@given(
    made=st.lists(
        st.fixed_dictionaries(
            {
                "campaign_id": TEXT,
                "phase": TEXT,
                "cost_usd": NUMBER,
                "latency_avg_ms": st.none() | NUMBER,
                "first_run_at": st.none() | INSTANT,
            }
        ),
        max_size=4,
    )
)
@example(made=[{"campaign_id": "\t=", "phase": ";'", "cost_usd": Decimal(-5)}])
@example(made=[{"campaign_id": "''", "phase": 'x;"=1', "cost_usd": Decimal("NaN")}])
def test_whatever_a_table_holds_reads_back_as_it_was_and_runs_in_no_spreadsheet(
    database, database_url, made
):
    made = [row | {"day": DAY + timedelta(days=n)} for n, row in enumerate(made)]
    fill(database_url, made)
    data = exported(database)
    assert RFC_4180.fullmatch(data)
    found = rows(data)
    frame = pd.read_csv(io.BytesIO(data), dtype=str, keep_default_na=False)
    assert len(found) == len(frame) == len(made)
    assert frame.to_dict(orient="records") == found
    for row, cells in zip(made, found, strict=True):
        assert not is_formula(cells["campaign_id"] + ";" + cells["phase"])
        assert original(cells["campaign_id"]) == row["campaign_id"]
        assert original(cells["phase"]) == row["phase"]
        assert date.fromisoformat(cells["day"]) == row["day"]
        assert cells["cost_usd"].strip("-0123456789.") in {"", "NaN"}
        assert number(cells["cost_usd"]) == number(str(row["cost_usd"]))
        assert number(cells["latency_avg_ms"]) == row.get("latency_avg_ms")
        assert instant(cells["first_run_at"]) == row.get("first_run_at")


def number(text):
    """None where there is none; NaN, which is not itself, as text."""
    return "NaN" if text == "NaN" else Decimal(text) if text else None


def instant(text):
    return datetime.fromisoformat(text) if text else None


def test_a_file_is_this_to_the_byte(database, database_url):
    fill(
        database_url,
        [
            {
                "day": DAY,
                "campaign_id": "a,b",
                "phase": "=1",
                "cost_usd": Decimal("-0.50"),
                "success_rate_pct": Decimal("99.9999"),
                "first_run_at": datetime(2026, 11, 25, 9, 30, 0, 250_000, tzinfo=UTC),
                "computed_at": datetime(2026, 11, 25, 10, tzinfo=UTC),
            }
        ],
    )
    assert exported(database) == (
        b"time_zone,day,is_complete,campaign_id,campaign_name,phase,runs,agents_total,agents_successful,"
        b"success_rate_pct,assets_generated,assets_per_run,tokens_in,tokens_out,"
        b"cost_usd,cost_per_run_usd,cost_per_asset_usd,latency_avg_ms,"
        b"latency_p95_worst_ms,latency_p95_median_ms,slo_p95_ms,slo_breach_pct,"
        b"first_run_at,last_run_at,computed_at\r\n"
        b'UTC,2026-11-25,false,"a,b",,\'=1,1,0,0,99.9999,0,,0,0,-0.50,,,,,,,,'
        b"2026-11-25T09:30:00.25+00:00,,2026-11-25T10:00:00+00:00\r\n"
    )


def test_a_text_longer_than_what_is_written_at_once_reads_back_too(
    database, database_url
):
    phase = 'a "line"\n' * 40_000
    insert(database_url, [campaign_row(phase=phase) for _ in range(2)])
    data = exported(database, "raw")
    csv.field_size_limit(len(phase) + 1)
    # Told apart here, since pytest would explain a difference for minutes.
    is_rfc_4180 = RFC_4180.fullmatch(data) is not None
    is_the_same = [row["phase"] for row in rows(data)] == [phase, phase]
    assert (is_rfc_4180, is_the_same) == (True, True)


@pytest.mark.parametrize("column", ["runs_change", "cost_usd_change"])
def test_a_change_for_the_worse_stays_a_number(database, database_url, column):
    execute(
        database_url,
        f"""INSERT INTO weekly_campaign_rollup (time_zone, week, campaign_id, phase, runs,
                agents_total, agents_successful, assets_generated, tokens_in, tokens_out,
                cost_usd, {column})
            VALUES ('UTC', '2026-11-23', '-5', '+5', 1, 1, 1, 1, 1, 1, 1, -5)""",
    )
    (row,) = rows(exported(database, "weekly"))
    assert row[column] == "-5"
    assert (row["campaign_id"], row["phase"]) == ("'-5", "'+5")


def test_columns_are_those_of_the_tables_in_their_order(database, database_url):
    insert_many(database_url, 1)
    headers = {
        name: list(rows(exported(database, name, **chosen))[0])
        for name, chosen in (("raw", {}), ("history", {"days": 1}))
    }
    assert headers["raw"][0] == "id"
    assert headers["raw"][-2:] == ["created_at", "exported_at"]
    assert len(headers["raw"]) == 15
    for name, relation in (
        ("raw", "campaign_metrics"),
        ("history", "campaign_history_90d"),
    ):
        found = query(
            database_url,
            f"SELECT attname FROM pg_attribute WHERE attrelid = '{relation}'::regclass "
            "AND attnum > 0 ORDER BY attnum",
        )
        expected = [column for (column,) in found]
        if name == "history":
            expected = ["time_zone", *expected]
        assert sorted(headers[name]) == sorted(expected)
        if name == "history":
            assert headers[name] == expected


def test_a_table_that_other_people_made_is_exported_too(migrated_adopted_url):
    with Database(migrated_adopted_url, application_name="test") as database:
        found = rows(exported(database, "raw"))
    counted = query(migrated_adopted_url, "SELECT count(*) FROM campaign_metrics")
    assert [(len(found),)] == counted
    assert len(found[0]) == 15


def test_compressed_it_is_the_same_and_always_the_same_bytes(database, database_url):
    insert_many(database_url, 3000)
    plain = exported(database, "raw")
    packed = exported(database, "raw", compress=True)
    assert gzip.decompress(packed) == plain
    assert len(packed) < len(plain) / 2
    assert exported(database, "raw", compress=True) == packed
    assert packed[4:8] == bytes(4)


def test_without_rows_there_is_a_header(database):
    data = exported(database)
    assert data.startswith(b"time_zone,day,")
    assert data.count(b"\r\n") == 1


def test_a_database_without_our_tables_says_what_to_run(empty_database_url):
    with (
        Database(empty_database_url, application_name="test") as database,
        pytest.raises(SchemaMissingError, match="apex provision database"),
    ):
        exported(database)


def count_file(path):
    with path.open("rb") as file:
        return count_rows(file, str(path))


def test_a_file_read_back_has_as_many_rows_as_records(tmp_path):
    path = tmp_path / "some.csv"
    path.write_bytes(b'a,b\r\n1,"x\r\ny\n"\r\n2,""\r\n')
    assert count_file(path) == 2
    path.write_bytes(b'a\r\n"' + b"x" * 200_000 + b'"\r\n')
    assert count_file(path) == 1
    path.write_bytes(b'a,b\r\n1,"x')
    with pytest.raises(ApexError, match="cannot be read back"):
        count_file(path)
    assert csv.field_size_limit() == 128 * 1024, "it is of the whole process"


_CHILD = """
import resource, sys
from pathlib import Path
from apex_pipeline.postgres import migrations
from apex_pipeline.analytics.csv.on_request import export_selection
from apex_pipeline.analytics.csv.csv_datasets import (select)
from apex_pipeline.postgres.database import Database
from apex_pipeline.settings import load_analysis_settings

def tell(rows, size):
    if sys.argv[3] == "hang":
        print("begun", flush=True)
        sys.stdin.read()

selection = select(load_analysis_settings({}), "raw")
with Database(sys.argv[1], application_name="test") as database:
    export_selection(database, selection, Path(sys.argv[2]), compress=False, tell=tell)
try:
    # What getrusage says includes the process that this one was started from.
    status = Path("/proc/self/status").read_text()
    print(1024 * int(status.partition("VmHWM:")[2].split()[0]))
except FileNotFoundError:
    print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
"""


def child(database_url, path, mode):
    return subprocess.Popen(
        [sys.executable, "-c", _CHILD, database_url, str(path), mode],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )


def test_killed_it_leaves_the_file_as_it_was_and_the_next_clears_up(
    database, database_url, tmp_path
):
    insert_many(database_url, 5000)
    path = tmp_path / "raw.csv"
    path.write_text("what was there")
    with child(database_url, path, "hang") as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "begun\n"
        # While its writer lives, a part is nobody else's.
        with replacing(tmp_path / "other.csv"):
            assert len(list(tmp_path.glob(".*.apex-part"))) == 2
        process.send_signal(signal.SIGKILL)
    assert path.read_text() == "what was there"
    (part,) = tmp_path.glob(".*.apex-part")
    assert part.stat().st_size > 0
    export_selection(database, select(SETTINGS, "raw"), path, compress=False)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["other.csv", "raw.csv"]
    assert count_file(path) == 5000


@pytest.mark.slow
def test_ten_times_the_rows_need_no_more_memory(database, database_url, tmp_path):
    peaks = []
    for count in (10_000, 90_000):
        insert_many(database_url, count)
        out, _ = child(database_url, tmp_path / "raw.csv", "run").communicate(
            timeout=SECONDS
        )
        peaks.append(int(out))
    size = (tmp_path / "raw.csv").stat().st_size
    assert peaks[1] - peaks[0] < size / 4


def test_a_failure_leaves_the_file_as_it_was_and_nothing_else(tmp_path):
    path = tmp_path / "some.csv"
    path.write_text("what was there")

    def fail():
        with replacing(path) as file:
            file.write(b"half")
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fail()
    assert path.read_text() == "what was there"
    assert list(tmp_path.iterdir()) == [path]


def test_modes_are_what_the_umask_leaves_and_folders_above_are_private(tmp_path):
    before = os.umask(0o027)
    try:
        make_folder(tmp_path / "state" / "exports")
        with replacing(tmp_path / "state" / "exports" / "some.csv"):
            pass
    finally:
        os.umask(before)
    modes = [
        stat.S_IMODE(path.stat().st_mode)
        for path in (
            tmp_path / "state",
            tmp_path / "state" / "exports",
            tmp_path / "state" / "exports" / "some.csv",
        )
    ]
    assert modes == [0o700, 0o750, 0o640]


def test_what_lies_in_the_folder_under_such_a_name_is_neither_followed_nor_awaited(
    tmp_path,
):
    victim = tmp_path / "victim"
    victim.write_text("mine")
    (tmp_path / ".a.apex-part").symlink_to(victim)
    os.mkfifo(tmp_path / ".b.apex-part")
    with replacing(tmp_path / "some.csv"):
        pass
    assert victim.read_text() == "mine"


def test_a_link_in_the_place_of_a_file_is_replaced_and_not_followed(tmp_path):
    victim, path = tmp_path / "victim", tmp_path / "some.csv"
    victim.write_text("mine")
    path.symlink_to(victim)
    with replacing(path) as file:
        file.write(b"new")
    assert victim.read_text() == "mine"
    assert path.read_text() == "new"
