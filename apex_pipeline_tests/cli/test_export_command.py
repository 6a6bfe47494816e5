"""`apex export` at a terminal and in scripts: files, pipes, faults, exit codes."""

import gzip
import os
import resource
import stat
import subprocess

import psycopg
import pytest

from apex_pipeline_tests.support.apex_command import APEX, INHERITED
from apex_pipeline_tests.support.csv_reading import rows
from apex_pipeline_tests.support.ends import insert_many, query
from apex_pipeline_tests.support.waiting import SECONDS

BIG = 60_000


@pytest.fixture
def start(database_url, tmp_path):
    """Start the command; of Dataverse it needs nothing."""

    def run(*arguments, **options):
        return subprocess.Popen(
            [APEX, "export", *arguments],
            env=INHERITED | {"DATABASE_URL": database_url},
            cwd=tmp_path,
            stderr=subprocess.PIPE,
            **{"stdout": subprocess.PIPE} | options,
        )

    return run


@pytest.fixture
def apex(database_url, tmp_path, forked_apex):
    """Run it to its end: exit code, output, what it said."""

    def run(*arguments):
        ended = forked_apex.run_bytes(
            ["export", *arguments],
            env=INHERITED | {"DATABASE_URL": database_url},
            cwd=tmp_path,
        )
        return ended.returncode, ended.stdout, ended.stderr.decode()

    return run


def test_rows_go_to_the_pipe_and_nothing_else_does(apex, database_url):
    insert_many(database_url, 30)
    code, out, err = apex("raw")
    assert (code, err) == (0, "")
    keys = query(
        database_url, "SELECT id::text FROM campaign_metrics ORDER BY created_at"
    )
    assert [row["id"] for row in rows(out)] == [key for (key,) in keys]
    assert gzip.decompress(apex("raw", "--gzip")[1]) == out


def test_a_file_is_named_and_its_ending_compresses(apex, database_url, tmp_path):
    insert_many(database_url, 30)
    code, out, err = apex("raw", "-o", "raw.csv")
    size = (tmp_path / "raw.csv").stat().st_size
    assert (code, out.decode(), err) == (0, f"raw.csv: 30 rows, {size:,} bytes\n", "")
    assert apex("raw", "--output", "raw.csv.gz")[0] == 0
    assert gzip.decompress((tmp_path / "raw.csv.gz").read_bytes()) == (
        (tmp_path / "raw.csv").read_bytes()
    )


def test_a_reader_that_has_enough_ends_it_quietly(start, database_url):
    insert_many(database_url, BIG)
    with start("raw") as process:
        assert process.stdout.readline().startswith(b"id,")
        process.stdout.close()
        assert process.stderr.read() == b""
        assert process.wait(SECONDS) == 141
    assert query(
        database_url,
        "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'apex_export' "
        "AND datname = current_database()",
    ) == [(0,)]


def test_a_named_pipe_stays_one(apex, database_url, tmp_path):
    insert_many(database_url, 30)
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    with subprocess.Popen(["cat", pipe], stdout=subprocess.PIPE) as cat:
        assert apex("raw", "-o", str(pipe))[0] == 0
        assert len(rows(cat.communicate()[0])) == 30
    assert pipe.is_fifo()


def test_a_link_is_followed_to_the_file_that_is_meant(apex, database_url, tmp_path):
    insert_many(database_url, 3)
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "link.csv").symlink_to("elsewhere/raw.csv")
    assert apex("raw", "-o", "link.csv")[0] == 0
    assert (tmp_path / "link.csv").is_symlink()
    assert len(rows((tmp_path / "elsewhere" / "raw.csv").read_bytes())) == 3


@pytest.mark.skipif(os.geteuid() != 0, reason="makes a link of another user")
def test_a_link_that_another_user_made_is_not_followed(apex, database_url, tmp_path):
    """In a folder that they share, she would choose what is replaced."""
    secret = tmp_path / "webserver.secret"
    secret.write_text("kept")
    (tmp_path / "november.csv").symlink_to(secret)
    os.lchown(tmp_path / "november.csv", 12345, 12345)
    code, _, told = apex("raw", "-o", "november.csv")
    assert code != 0
    assert "is a link that another user made" in told
    assert secret.read_text() == "kept"


def small_disk():
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))


def test_a_disk_without_room_leaves_the_file_as_it_was(start, database_url, tmp_path):
    insert_many(database_url, 5000)
    (tmp_path / "raw.csv").write_text("what was there")
    with start("raw", "-o", "raw.csv", preexec_fn=small_disk) as process:
        out, told = process.communicate(timeout=SECONDS)
    assert (process.returncode, out) == (1, b"")
    err = told.decode()
    assert err.count("\n") == 1
    assert "raw.csv cannot be written: File too large. Make room there" in err
    assert (tmp_path / "raw.csv").read_text() == "what was there"
    assert [path.name for path in tmp_path.iterdir()] == ["raw.csv"]


@pytest.mark.parametrize(
    ("arguments", "code", "text"),
    [
        ((), 2, "Missing argument"),
        (("hourly",), 2, "'hourly' is not one of"),
        (("daily", "--from", "yesterday"), 2, "does not match the format"),
        (("daily", "--from", "2026-11-02", "--to", "2026-11-01"), 2, "is after"),
        (("daily", "--zone", "Mars"), 2, "exist for UTC, not for Mars"),
        (("raw", "--zone", "UTC' OR 1=1 --"), 2, "is not an IANA"),
        (("daily", "--days", "3"), 2, "--days applies only to history"),
        (
            ("history", "--days", "3", "--format", "parquet", "--gzip"),
            2,
            "leave --gzip",
        ),
        (("daily", "-o", "nowhere/x.csv"), 1, "Its folder does not exist"),
        (("daily", "-o", "."), 1, "Is a directory"),
    ],
)
def test_a_mistake_ends_in_one_message(apex, arguments, code, text):
    ended = apex(*arguments)
    assert (ended[0], ended[1]) == (code, b"")
    assert text in ended[2]
    assert "Traceback" not in ended[2]


def test_output_that_cannot_be_written_ends_in_one_message(start, database_url):
    insert_many(database_url, 5000)
    with (
        open("/dev/full", "wb") as full,  # noqa: PTH123  a device
        start("raw", stdout=full) as process,
    ):
        err = process.stderr.read().decode()
    assert process.returncode == 1
    assert err.startswith("apex: Standard output cannot be written: No space left")
    assert err.count("\n") == 1


def test_compressed_data_is_not_for_a_terminal(start):
    ours, theirs = os.openpty()
    with start("raw", "--gzip", stdout=theirs) as process:
        assert b"pass --output FILE" in process.stderr.read()
    assert process.returncode == 2
    os.close(ours)
    os.close(theirs)


def test_a_terminal_is_not_steered_by_a_row_and_a_pipe_gets_its_bytes(
    apex, start, database_url
):
    insert_many(database_url, 1)
    title = "\x1b]0;taken\x07é"
    with psycopg.connect(database_url) as connection:
        connection.execute("UPDATE campaign_metrics SET phase = %s", (title,))
    assert title.encode() in apex("raw")[1]
    ours, theirs = os.openpty()
    with start("raw", stdout=theirs) as process:
        assert process.wait(SECONDS) == 0, process.stderr.read()
    os.close(theirs)
    with open(ours, "rb", buffering=0) as terminal:  # noqa: PTH123  a descriptor
        shown = terminal.read(100_000)
    assert b"\\u001b]0;taken\\u0007" in shown
    assert "é".encode() in shown
    assert not set(shown) & {0x1B, 0x07}


@pytest.mark.parametrize("mode", [0o600, 0o640, 0o664])
def test_a_replaced_file_passes_its_mode_on(apex, database_url, tmp_path, mode):
    insert_many(database_url, 1)
    path = tmp_path / "raw.csv"
    path.touch()
    path.chmod(mode)
    assert apex("raw", "-o", "raw.csv")[0] == 0
    assert path.stat().st_size
    assert stat.S_IMODE(path.stat().st_mode) == mode
