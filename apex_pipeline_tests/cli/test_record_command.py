"""`apex record` at a terminal and in scripts."""

import json
import os
import re
import signal
import subprocess
import sys

import psycopg
import pytest

from apex_pipeline.recording.record_ids import id_from_key
from apex_pipeline_tests.support.apex_command import APEX, INHERITED
from apex_pipeline_tests.support.campaign_runs import metrics, sent
from apex_pipeline_tests.support.ends import query
from apex_pipeline_tests.support.waiting import SECONDS, wait_until

COUNT = "SELECT count(*) FROM campaign_metrics"
OPTIONS = [
    part
    for name, value in metrics().items()
    for part in (f"--{name.replace('_', '-')}", str(value))
]


@pytest.fixture
def record(database_url, tmp_path, forked_apex):
    """Runs the command; what is piped into it is text."""

    def run(*arguments, piped="", **changes):
        return forked_apex.run_bytes(
            ["record", *arguments],
            env=INHERITED | {"DATABASE_URL": database_url} | changes,
            cwd=tmp_path,
            piped=piped if isinstance(piped, bytes) else piped.encode(),
        )

    return run


def write_lines(path, records):
    path.write_text("".join(f"{json.dumps(r)}\n" for r in records))
    return path


def test_one_record_by_options_is_written_once(record, database_url):
    ended = record(*OPTIONS, "--idempotency-key", "k")
    key = id_from_key("k")
    assert (ended.returncode, ended.stderr) == (0, b"")
    assert ended.stdout.decode() == f"{key} recorded.\n"
    again = record(*OPTIONS, "--id", "k")
    assert (
        again.stdout.decode() == f"{key} was already recorded; nothing was written.\n"
    )
    other = record(*OPTIONS, "--id", "k", "--tokens-in", "7")
    assert other.returncode == 1
    assert "with a different --tokens-in" in other.stderr.decode()
    assert query(database_url, COUNT) == [(1,)]


def test_an_empty_id_or_key_is_refused_not_left_out(record, database_url):
    ended = record(*OPTIONS, "--id", "")
    assert ended.returncode == 1
    assert b"--id must be printable text of 1 to 255 characters" in ended.stderr
    assert record(*OPTIONS, "--idempotency-key", "").returncode == 2
    assert query(database_url, COUNT) == [(0,)]


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16"])
def test_json_as_windows_pipes_it_is_read(record, database_url, encoding):
    ended = record("--json", "-", piped=json.dumps(sent(id="k")).encode(encoding))
    assert (ended.returncode, ended.stderr) == (0, b"")
    assert query(database_url, COUNT) == [(1,)]


def test_a_spreadsheet_with_decimal_commas_needs_its_dialect(
    record, database_url, tmp_path
):
    run = sent(costUSD="0,5")
    text = "\n".join(";".join(map(str, part)) for part in (run, run.values()))
    (tmp_path / "rows.csv").write_bytes(text.encode("utf-16"))
    refused = record("--file", "rows.csv")
    assert refused.returncode == 1
    assert b"pass --dialect excel-eu" in refused.stderr
    ended = record("--file", "rows.csv", "--dialect", "excel-eu")
    assert (ended.returncode, ended.stderr) == (0, b"")
    assert query(database_url, "SELECT cost_usd::text FROM campaign_metrics") == [
        ("0.50000",)
    ]


def test_one_record_by_json_may_be_piped(record, database_url):
    document = json.dumps(sent(id="k"))
    dry = record("--json", document, "--dry-run")
    assert dry.stdout.decode() == f"{id_from_key('k')} would be recorded.\n"
    assert query(database_url, COUNT) == [(0,)]
    assert record("--json", "-", piped=document).returncode == 0
    assert query(database_url, COUNT) == [(1,)]


def test_all_problems_are_told_in_the_words_of_the_command(record):
    ended = record("--phase", "", "--tokens-in", "many", "--cost-usd", "nan")
    assert ended.returncode == 1
    told = ended.stderr.decode().splitlines()
    assert "apex: --phase is missing" in told
    assert "apex: --tokens-in is text; it must be a number" in told
    assert "apex: --cost-usd is NaN; the column holds finite numbers" in told
    assert len(told) == 11


@pytest.mark.parametrize(
    "arguments",
    [
        (),
        ("--json", "{}", "--phase", "1"),
        ("--file", "rows.txt"),
        ("--file", "missing.csv"),
        ("--json", "{}", "--skip-bad"),
        ("--file", "rows.csv", "--rejects", "x"),
        ("--json", "{}", "--dialect", "excel-eu"),
        ("--file", "rows.txt", "--format", "jsonl", "--dialect", "excel-eu"),
        ("--file", "rows.csv", "--idempotency-key", "x"),
        ("--file", "rows.csv", "--idempotency-key", ""),
    ],
)
def test_a_wrong_use_is_told_and_exits_with_2(record, tmp_path, arguments):
    for name in ("rows.txt", "rows.csv"):
        (tmp_path / name).touch()
    ended = record(*arguments)
    assert ended.returncode == 2
    assert b"Usage: apex record" in ended.stderr


def test_a_file_is_written_and_counted(record, tmp_path, database_url):
    path = write_lines(tmp_path / "rows.jsonl", [sent(tokensIn=n) for n in range(3)])
    assert record("--file", path).stdout == b"3 recorded, 0 already recorded.\n"
    piped = record("--file", "-", "--format", "jsonl", piped=path.read_text())
    assert piped.stdout == b"0 recorded, 3 already recorded.\n"
    assert query(database_url, COUNT) == [(3,)]


def test_bad_lines_are_told_and_on_demand_reported(record, tmp_path, database_url):
    path = write_lines(
        tmp_path / "rows.jsonl", [sent(), sent(tokensIn=-1), sent(phase="4")]
    )
    ended = record("--file", path)
    assert ended.returncode == 1
    assert ended.stderr.decode().splitlines() == [
        "apex: line 2: tokensIn is -1; the column holds 0 to 2147483647",
        "apex: 1 line is invalid; nothing was written.",
    ]
    assert query(database_url, COUNT) == [(0,)]
    skipped = record("--file", path, "--skip-bad")
    report = tmp_path / "rows.jsonl.rejects.jsonl"
    assert skipped.returncode == 0
    assert skipped.stdout.decode() == (
        f"2 recorded, 0 already recorded, 1 rejected (see {report}).\n"
    )
    assert json.loads(report.read_text()) == {
        "line": 2,
        "problems": ["tokensIn is -1; the column holds 0 to 2147483647"],
    }
    assert query(database_url, COUNT) == [(2,)]


def test_a_report_that_cannot_be_written_stops_before_anything_is(
    record, tmp_path, database_url
):
    path = write_lines(tmp_path / "rows.jsonl", [sent()])
    ended = record("--file", path, "--skip-bad", "--rejects", tmp_path / "no" / "x")
    assert ended.returncode == 1
    assert b"nothing was written" in ended.stderr
    assert query(database_url, COUNT) == [(0,)]


def test_without_a_database_it_says_what_to_do(record, tmp_path):
    ended = record(*OPTIONS, DATABASE_URL="", APEX_STATE_DIR=str(tmp_path))
    assert ended.returncode == 2
    assert b"apex up" in ended.stderr


def test_a_person_sees_how_far_it_is_and_a_script_does_not(
    record, tmp_path, database_url
):
    path = write_lines(tmp_path / "rows.jsonl", [sent()])
    assert record("--file", path).stderr == b""
    leader, follower = os.openpty()
    with subprocess.Popen(
        [APEX, "record", "--file", path],
        env=INHERITED | {"DATABASE_URL": database_url, "TERM": "xterm"},
        stdout=subprocess.PIPE,
        stderr=follower,
    ) as process:
        os.close(follower)
        shown = b""
        while True:
            try:
                data = os.read(leader, 4096)
            except OSError:
                break
            if not data:
                break
            shown += data
    os.close(leader)
    assert process.returncode == 0
    size = path.stat().st_size
    assert f"{size}/{size} bytes" in re.sub(r"\x1b\[[^a-zA-Z]*.", "", shown.decode())


def test_a_kill_leaves_nothing_and_the_next_time_writes_all(
    record, tmp_path, database_url
):
    path = write_lines(tmp_path / "rows.jsonl", [sent(tokensIn=n) for n in range(500)])
    # The table is held, so the insertion waits, with everything copied already.
    with psycopg.connect(database_url) as holder:
        holder.execute("LOCK TABLE campaign_metrics IN SHARE MODE")
        process = subprocess.Popen(
            [APEX, "record", "--file", path],
            env=INHERITED | {"DATABASE_URL": database_url},
        )
        wait_for_insertion(database_url)
        process.send_signal(signal.SIGKILL)
        process.wait(timeout=SECONDS)
    ended = record("--file", path)
    assert ended.stdout == b"500 recorded, 0 already recorded.\n"
    assert query(database_url, COUNT) == [(500,)]


def wait_for_insertion(database_url):
    waiting = (
        "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock'"
        " AND datname = current_database() AND query LIKE '%INSERT INTO campaign_m%'"
    )
    wait_until(lambda: query(database_url, waiting) != [(0,)])


# Through a small process: what a large one has in memory when it starts another counts
# as that one's.
_MEASURED = (
    "import resource, subprocess, sys\n"
    "subprocess.run(sys.argv[1:], check=True)\n"
    "print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)\n"
)


@pytest.mark.slow
def test_memory_does_not_grow_with_the_file(tmp_path, database_url):
    peaks = []
    for count in (100, 20_000):
        path = tmp_path / f"{count}.jsonl"
        write_lines(path, (sent(tokensIn=n, phase=str(count)) for n in range(count)))
        ended = subprocess.run(
            [sys.executable, "-c", _MEASURED, APEX, "record", "--file", path],
            env=INHERITED | {"DATABASE_URL": database_url},
            capture_output=True,
            text=True,
            check=True,
        )
        told, peak = ended.stdout.splitlines()
        assert told == f"{count} recorded, 0 already recorded."
        peaks.append(int(peak))
    unit = 1024 if sys.platform == "linux" else 1024 * 1024
    # The larger file has 5 MB, and its records as objects would have ten times that.
    assert (peaks[1] - peaks[0]) / unit < 8
