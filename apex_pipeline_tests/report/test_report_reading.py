"""The readers of the report, against real sources."""

import subprocess
import sys
from datetime import UTC, datetime, timedelta

import pytest

from apex_pipeline.errors import ApexError, DatabaseError
from apex_pipeline.panel.exposition import expose
from apex_pipeline.panel.measurement import Latencies
from apex_pipeline.postgres import migrations
from apex_pipeline.postgres.database import Database
from apex_pipeline.report.delivery_statistics import read_delays, read_rows, read_runs
from apex_pipeline.report.measured_lines import once
from apex_pipeline.report.repository import installed_packages, read_repository
from apex_pipeline.report.schema_reading import (
    read_analyst,
    read_migrations,
    read_relations,
)
from apex_pipeline.report.secret_values import read_all_secrets
from apex_pipeline.report.served_panel import percentile_bound
from apex_pipeline.report.test_outcome import read_outcome
from apex_pipeline_tests.support.ends import campaign_row, execute, insert
from apex_pipeline_tests.support.report_reading import PASSING


@pytest.fixture
def database(database_url):
    with Database(database_url, application_name="tests") as opened:
        yield opened


def test_the_delay_is_that_of_rows_since_then_and_counts_those_that_wait(
    database, database_url
):
    now = datetime.now(UTC)

    def row(age, waited):
        at = now - timedelta(seconds=age)
        found = campaign_row(created_at=at)
        return found, None if waited is None else at + timedelta(seconds=waited)

    rows = [row(3600, 10), row(3500, 20), row(3400, 30), row(3300, 290)]
    rows += [row(200, None), row(100, None), row(90_000, 80_000), row(50, -5)]
    insert(database_url, [found for found, _ in rows])
    for found, exported_at in rows:
        if exported_at is not None:
            execute(
                database_url,
                f"UPDATE campaign_metrics SET exported_at = '{exported_at}'"
                f" WHERE id = '{found['id']}'",
            )
    refused, _ = rows[5]
    execute(
        database_url,
        "INSERT INTO campaign_metrics_quarantine (metric_id, code, message, attempts,"
        " first_rejected_at, last_rejected_at, next_attempt_at) VALUES"
        f" ('{refused['id']}', 'invalid', 'x', 1, now(), now(), now())",
    )
    found = read_delays(database, now - timedelta(hours=2))
    assert (found.count, found.waiting) == (6, 1)
    assert found.median == pytest.approx(20)
    assert found.longest == found.p95 == pytest.approx(290)
    nothing = read_delays(database, now)
    assert (nothing.count, nothing.p95, nothing.longest) == (0, None, None)
    counted = read_rows(database)
    assert (counted.count, counted.exported, counted.pending) == (8, 6, 2)


def test_the_ledger_is_added_up(database, database_url):
    assert read_runs(database).count == 0
    assert read_runs(database).totals.token_hit_rate_pct is None
    for seconds, status in ((1, "success"), (3, "success"), (9, "failure")):
        execute(
            database_url,
            "INSERT INTO sync_run (started_at, host, status, finished_at, rows_read,"
            " delivered, rejected, requests, token_cache_hits, token_cache_misses)"
            f" VALUES (now(), 'h', '{status}', now() + interval '{seconds} s', 10, 8, 2,"
            " 5, 4, 1)",
        )
    runs = read_runs(database)
    assert (runs.count, runs.succeeded, runs.failed) == (3, 2, 1)
    assert (runs.rows_read, runs.totals.delivered, runs.totals.rejected) == (30, 24, 6)
    assert runs.totals.token_hit_rate_pct == 80
    assert (runs.median_seconds, runs.longest_seconds) == (3, 9)


def test_migrations_and_what_they_make_are_told(database, empty_database_url):
    contents = migrations.contents()
    applied = read_migrations(database, list(contents))
    assert [name for name, _ in applied] == list(contents)
    names = [name for made in contents.values() for name in made]
    relations = {each.name: each for each in read_relations(database, names)}
    assert set(relations) == set(names)
    assert relations["campaign_metrics"].columns == 15
    assert relations["campaign_metrics_pending"].kind == "view"
    assert all(each.comment for each in relations.values())
    with Database(empty_database_url, application_name="tests") as empty:
        assert read_relations(empty, names) == []
        with pytest.raises(DatabaseError, match="apex provision database"):
            read_migrations(empty, names)


def test_what_analysts_may_is_seen(database, database_url):
    assert not read_analyst(database).reads_raw_rows
    execute(
        database_url,
        "GRANT SELECT ON campaign_metrics TO apex_analyst;"
        "GRANT DELETE ON daily_campaign_rollup TO apex_analyst",
    )
    role = read_analyst(database)
    assert role.exists
    assert role.reads_raw_rows
    assert role.writable == 1


@pytest.mark.parametrize(
    ("seconds", "percent", "bound"),
    [
        ([0.002] * 95 + [3.0] * 5, 95, 0.0025),
        ([0.002] * 94 + [3.0] * 6, 95, 5.0),
        ([100.0], 95, float("inf")),
    ],
)
def test_the_panels_histogram_bounds_its_percentile(seconds, percent, bound):
    latencies = Latencies()
    latencies.know(["/", "/api/kpis", "/api/history"])
    for number, each in enumerate(seconds):
        path = "/api/kpis" if number % 2 else "/api/history"
        latencies.note("GET", path, 200, each)
    # None of these is an answer of the API.
    latencies.note("GET", "/", 200, 9.0)
    latencies.note("GET", "/api/kpis", 502, 9.0)
    text = expose([latencies.family()], {}).decode()
    assert percentile_bound(text, percent) == (bound, len(seconds))
    assert percentile_bound("", percent) is None


MIXED = """
import pytest

class TestThings:
    def test_fails(self):
        assert False

@pytest.mark.skip
def test_skipped():
    pass

@pytest.fixture
def broken():
    raise ValueError

def test_error(broken):
    pass
"""


def test_the_outcome_of_tests_is_what_pytest_wrote(tmp_path):
    (tmp_path / "test_good.py").write_text(PASSING)
    (tmp_path / "test_mixed.py").write_text(MIXED)
    path = tmp_path / "results.xml"
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider"]
    command += ["--rootdir", str(tmp_path), "-c", "/dev/null"]
    subprocess.run(
        [*command, "--junit-xml", str(path), str(tmp_path)],
        capture_output=True,
        check=False,
    )
    outcome = read_outcome(path)
    assert (outcome.tests, len(outcome.failures), outcome.skipped) == (4, 2, 1)
    assert any("test_fails" in name for name in outcome.failures)
    good, mixed = outcome.modules
    assert (good.name, good.tests, good.failed) == ("test_good", 1, 0)
    assert (mixed.name, mixed.tests, mixed.failed, mixed.skipped) == (
        "test_mixed",
        3,
        2,
        1,
    )
    assert outcome.began_at is not None
    assert abs(datetime.now(UTC) - outcome.began_at) < timedelta(minutes=5)


@pytest.mark.parametrize("text", ["", "not xml", "<testsuites/>", "<x><testcase/></x>"])
def test_what_is_no_outcome_is_told(tmp_path, text):
    path = tmp_path / "results.xml"
    path.write_text(text)
    with pytest.raises(ApexError, match=r"results\.xml"):
        read_outcome(path)


def test_where_no_tests_ran_it_is_told_how_to_run_them(tmp_path):
    path = tmp_path / "none.xml"
    with pytest.raises(ApexError, match=f"pytest --junit-xml {path}"):
        read_outcome(path)


def git(folder, *arguments):
    settings = ("-c", "user.name=A", "-c", "user.email=a@example.com")
    subprocess.run(
        ["git", "-C", str(folder), *settings, *arguments],
        capture_output=True,
        check=True,
    )


# Needs git, which .ci/run has and other machines may lack.
@pytest.mark.slow
def test_commits_are_those_of_the_repository_that_the_package_is_in(tmp_path):
    package = tmp_path / "package"
    package.mkdir()
    init = package / "__init__.py"
    init.touch()
    with pytest.raises(ApexError, match="not in a git repository"):
        read_repository(2, package)
    git(tmp_path, "init", "-b", "trunk")
    git(tmp_path, "commit", "--allow-empty", "-m", "somebody else's")
    with pytest.raises(ApexError, match="not in a git repository"):
        read_repository(2, package)
    git(tmp_path, "add", ".")
    for subject in ("one", "two | <b>", "three"):
        git(tmp_path, "commit", "--allow-empty", "-m", subject)
    init.write_text("changed")
    found = read_repository(2, package)
    assert (found.branch, found.count, found.changed) == ("trunk", 4, 1)
    assert [each.subject for each in found.newest] == ["three", "two | <b>"]


def test_packages_are_those_that_run():
    packages = dict(installed_packages())
    assert packages["dagster"].startswith("1.13.")
    assert "pytest" not in packages


def test_secrets_are_found_in_whatever_form_they_are_written(tmp_path):
    cache = tmp_path / "tokens.json"
    cache.write_text('{"AccessToken": {"k": {"secret": "an-access-token"}}}')
    secrets = read_all_secrets(
        {
            "DATABASE_URL": "postgresql://u:pass%40word1@h/d",
            "AZURE_CLIENT_SECRET": "client~secret",
            "APEX_TEAMS_WEBHOOK_URL": "https://example.com/hook?sig=1",
            "DATAVERSE_RESOURCE": "https://org.crm.dynamics.com",
            "APEX_PANEL_TOKEN": "short",
        },
        cache,
    )
    for secret in (
        "pass%40word1",
        "pass@word1",
        "client~secret",
        "https://example.com/hook?sig=1",
        "an-access-token",
    ):
        assert secrets.hide(f"a {secret} b") == "a *** b"
        assert secrets.are_in(f"a {secret} b".encode())
        assert secret not in repr(secrets)
    assert secrets.hide("short https://org.crm.dynamics.com") == (
        "short https://org.crm.dynamics.com"
    )


def test_what_is_looked_at_once_gives_or_lacks_the_same_each_time():
    looks = []

    def look():
        looks.append(1)
        raise ApexError("gone")

    get = once(look)
    for _ in range(2):
        with pytest.raises(ApexError, match="gone"):
            get()
    assert len(looks) == 1
