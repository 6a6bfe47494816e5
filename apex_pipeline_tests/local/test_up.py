import json
import os
import re
import signal
import socket
import stat
import subprocess
import sys
from collections.abc import Iterator
from io import StringIO
from pathlib import Path
from urllib.parse import urlsplit

import dagster as dg
import httpx
import psycopg
import pytest
from dagster._core.test_utils import create_run_for_test
from rich.console import Console

from apex_pipeline.audit.authors import ACTOR_TAG
from apex_pipeline.errors import ApexError, ConfigError
from apex_pipeline.local import child_commands, processes
from apex_pipeline.local.graphql_client import start_sync
from apex_pipeline.local.up import _say, run_up
from apex_pipeline.local.up_lock import AlreadyRunningError, announced, only_one
from apex_pipeline.settings import DEFAULT_LOCATION
from apex_pipeline.texts.redaction import OURS
from apex_pipeline_tests.support.apex_up import (
    Running,
    apex_up,
    starting,
    variables_of,
    wait_until,
)
from apex_pipeline_tests.support.ends import free_port, query
from apex_pipeline_tests.support.waiting import SECONDS


def no_sync(environment: object) -> str:
    raise AssertionError("there is nothing to sync")


def run(folder: Path, *, demo: bool = False, port: int = 3000, **environment: str):
    return run_up(
        {"APEX_STATE_DIR": str(folder), **environment},
        demo=demo,
        port=port,
        first_sync=no_sync,
        console=Console(file=StringIO()),
    )


def test_what_is_printed_neither_steers_the_terminal_nor_tells_a_secret():
    OURS.remember("a-secret-value")
    shown = StringIO()
    _say(Console(file=shown, force_terminal=True), "\x1b]0;taken\x07 a-secret-value")
    assert shown.getvalue() == "\\u001b]0;taken\\u0007 ***\n"


@pytest.mark.parametrize(
    "ends",
    [
        {"DATABASE_URL": "postgresql://u@h/d", "DATAVERSE_RESOURCE": "https://o.dev"},
        {"DATABASE_URL": "postgresql://u@h/d", "DATAVERSE_RESOURCE": "emulator"},
        {"DATABASE_URL": "embedded", "DATAVERSE_RESOURCE": "https://o.dev"},
    ],
)
def test_made_up_campaigns_never_reach_a_real_service(tmp_path, ends):
    with pytest.raises(ConfigError, match="--demo"):
        run(tmp_path, demo=True, **ends)
    assert list(tmp_path.iterdir()) == []


def test_what_is_wrong_with_the_settings_is_named_before_anything_runs(tmp_path):
    wrong = r"AZURE_TENANT_ID(.|\n)*AZURE_CLIENT_SECRET(.|\n)*APEX_TIME_ZONE"
    with pytest.raises(ConfigError, match=wrong):
        run(
            tmp_path,
            port=free_port(),
            DATABASE_URL="postgresql://u:p@h/d",
            DATAVERSE_RESOURCE="https://org.crm.dynamics.com",
            DAGSTER_POSTGRES_URL="postgresql://u:p@h/dagster",
            APEX_TIME_ZONE="Mars/X",
        )


def test_a_taken_port_is_named_with_the_option_that_changes_it(tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        with pytest.raises(
            ApexError, match=rf"Port {port} is in use.*--port {port + 1}"
        ):
            run(tmp_path, port=port)


def test_a_folder_to_which_every_user_may_write_is_refused(tmp_path):
    tmp_path.chmod(0o777)
    with (
        pytest.raises(ConfigError, match="chmod o-w"),
        only_one(tmp_path, "http://127.0.0.1:3000"),
    ):
        pytest.fail("it started there")


def test_a_folder_of_another_user_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr("os.geteuid", lambda: os.getuid() + 1)
    with (
        pytest.raises(ConfigError, match="belongs to another user"),
        only_one(tmp_path, "http://127.0.0.1:3000"),
    ):
        pytest.fail("it started there")


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


@pytest.mark.parametrize("found", [0o755, 0o750, 0o711])
def test_a_folder_that_is_ours_is_closed_to_other_users(tmp_path, found):
    """Logs and exports lie there, readable for who gets in."""
    for made_before in ((), ("up.lock", "logs", "exports")):
        state = tmp_path / f"with {len(made_before)}"
        state.mkdir()
        for name in made_before:
            (state / name).touch()
        state.chmod(found)
        with only_one(state, "http://127.0.0.1:3000"):
            assert mode(state) == 0o700


def test_a_folder_with_files_of_others_is_not_closed_unasked(tmp_path):
    (tmp_path / "of another program").touch()
    tmp_path.chmod(0o755)
    with (
        pytest.raises(ConfigError, match=f"chmod 700 {tmp_path}"),
        only_one(tmp_path, "http://127.0.0.1:3000"),
    ):
        pytest.fail("it started there")
    assert mode(tmp_path) == 0o755
    tmp_path.chmod(0o700)
    with only_one(tmp_path, "http://127.0.0.1:3000"):
        pass


def test_the_second_in_one_place_learns_of_the_first(tmp_path):
    with (
        only_one(tmp_path, "http://127.0.0.1:3000"),
        pytest.raises(
            AlreadyRunningError, match=f"pid {os.getpid()}, http://127.0.0.1:3000"
        ),
        only_one(tmp_path, "http://127.0.0.1:4000"),
    ):
        pass
    with only_one(tmp_path, "http://127.0.0.1:4000"):
        pass


def test_a_folder_that_cannot_be_written_is_named(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(ConfigError, match=r"file/state cannot store.*APEX_STATE_DIR"):
        run(tmp_path / "file" / "state")


def test_the_lock_ends_with_a_killed_process(tmp_path):
    program = (
        "import sys, time, pathlib\n"
        "from apex_pipeline.local.up_lock import only_one\n"
        "with only_one(pathlib.Path(sys.argv[1]), 'http://127.0.0.1:3000'):\n"
        "    print('held', flush=True)\n"
        "    time.sleep(60)\n"
    )
    with subprocess.Popen(
        [sys.executable, "-c", program, str(tmp_path)], stdout=subprocess.PIPE
    ) as holder:
        assert holder.stdout
        assert holder.stdout.readline() == b"held\n"
        with pytest.raises(AlreadyRunningError), only_one(tmp_path, ""):
            pass
        holder.kill()
    with only_one(tmp_path, ""):
        pass


def test_what_runs_is_announced_to_its_owner_alone_and_only_while_it_runs(tmp_path):
    path = tmp_path / "local.json"
    with announced(tmp_path, {"DATABASE_URL": "postgresql://…"}):
        assert json.loads(path.read_text()) == {
            "DATABASE_URL": "postgresql://…",
            "PID": str(os.getpid()),
        }
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert not path.exists()


@pytest.mark.slow
def test_everything_comes_up_and_goes_without_remains_and_comes_back(tmp_path):
    state = tmp_path / "state"
    with apex_up(state) as first:
        locations = first.ask(
            "{ workspaceOrError { ... on Workspace { locationEntries {"
            " locationOrLoadError { __typename } } } } }"
        )
        assert locations["workspaceOrError"]["locationEntries"] == [
            {"locationOrLoadError": {"__typename": "RepositoryLocation"}}
        ]
        with psycopg.connect(first.served["DATABASE_URL"]) as connection:
            connection.execute("CREATE TABLE kept (note text)")
        panel = re.search(r"Panel +(\S+)", first.output.read_text())
        assert panel
        assert httpx.get(f"{panel[1]}/api/kpis").json()["state"] == "empty"
        foreign = {"Sec-Fetch-Site": "cross-site"}
        told = httpx.get(f"{first.url}/graphql?query={{version}}", headers=foreign)
        assert told.status_code == 403
        assert list((state / "sockets").iterdir()) == [state / "sockets" / "code.sock"]
        before, family = first.ends, first.family()
        assert len(family) > 5

        assert first.stop() == 0

    assert processes.survivors(family) == set()
    assert not (state / "local.json").exists()
    assert first.output.read_text().endswith("Stopped.\n")
    with apex_up(state) as second:
        assert second.ends == before
        with psycopg.connect(second.served["DATABASE_URL"]) as connection:
            connection.execute("SELECT FROM kept")
        # The terminal is closed.
        assert second.stop(signal.SIGHUP) == 0


MARKER = "m4rk3d"
NOWHERE = f"http://127.0.0.1:9/{MARKER}"
SECRETS = {
    "APEX_PANEL_TOKEN": f"{MARKER}-panel-token",
    "APEX_TEAMS_WEBHOOK_URL": f"https://127.0.0.1:9/{MARKER}",
    "APEX_ALERT_EMAIL_TO": "ops@example.com",
    "APEX_ALERT_EMAIL_FROM": "apex@example.com",
    "APEX_SMTP_URL": f"smtps://apex:{MARKER}@127.0.0.1:9",
    "APEX_HEARTBEAT_URL": NOWHERE,
    "APEX_ADMIN_TENANT_ID": "contoso.example",
    "APEX_ADMIN_CLIENT_ID": "00000000-0000-0000-0000-000000000001",
    "APEX_ADMIN_CLIENT_SECRET": MARKER,
    "HTTPS_PROXY": f"http://apex:{MARKER}@127.0.0.1:9",
    "PGSSLPASSWORD": MARKER,
    "AWS_SECRET_ACCESS_KEY": MARKER,
}
TOLD = {
    child_commands.DATABASE: set(),
    child_commands.EMULATOR: set(),
    child_commands.DEMO_WRITER: set(),
    child_commands.WEB_SERVER: {"APEX_PANEL_TOKEN"},
    child_commands.DAEMON: set(),
    child_commands.PANEL: {"APEX_PANEL_TOKEN", "HTTPS_PROXY", "PGSSLPASSWORD"},
    child_commands.CODE_SERVER: {
        name for name, value in SECRETS.items() if MARKER in value
    }
    - {"AWS_SECRET_ACCESS_KEY"},
}


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """A demo behind a token, with a marker in every secret."""
    state = tmp_path_factory.mktemp("demo") / "state"
    with apex_up(state, "--demo", variables=SECRETS) as running:
        wait_until(running.says("Synced: "), running)
        wait_until(lambda: running.pid(child_commands.DEMO_WRITER), running)
        yield running


@pytest.mark.slow
@pytest.mark.parametrize("name", TOLD)
def test_a_child_and_its_children_are_told_no_secret_that_is_not_theirs(demo, name):
    pid = demo.pid(name)
    assert pid
    of_other_children = {
        each["pid"]
        for each in json.loads((demo.state / "processes.json").read_text())["children"]
    } - {pid}
    found = {
        variable
        for process in processes.family(pid)
        if process.pid not in of_other_children
        for variable, value in variables_of(process.pid).items()
        if MARKER in value
    }
    assert found == TOLD[name]
    told = variables_of(pid)
    ours = {"DATABASE_URL", "DAGSTER_POSTGRES_URL", "AZURE_CLIENT_SECRET"}
    assert (
        ours & set(told)
        == {
            child_commands.DATABASE: set(),
            child_commands.EMULATOR: set(),
            child_commands.DEMO_WRITER: {"DATABASE_URL"},
            child_commands.WEB_SERVER: {"DAGSTER_POSTGRES_URL"},
            child_commands.DAEMON: {"DAGSTER_POSTGRES_URL"},
            child_commands.PANEL: {"DATABASE_URL", "AZURE_CLIENT_SECRET"},
            child_commands.CODE_SERVER: ours,
        }[name]
    )


@pytest.mark.slow
def test_each_process_has_a_login_of_its_own_and_none_is_superuser(demo):
    users = {
        name: urlsplit(variables_of(demo.pid(name))["DATABASE_URL"]).username
        for name in (
            child_commands.CODE_SERVER,
            child_commands.PANEL,
            child_commands.DEMO_WRITER,
        )
    }
    assert users == {
        child_commands.CODE_SERVER: "apex_sync_login",
        child_commands.PANEL: "apex_panel_login",
        child_commands.DEMO_WRITER: "apex_demo_login",
    }
    urls = [(demo.state / "database.url").read_text(), demo.served["DATABASE_URL"]]
    urls += [demo.served["DAGSTER_POSTGRES_URL"]]
    for url in urls:
        with psycopg.connect(url) as connection:
            found = connection.execute("SHOW is_superuser").fetchone()
            assert found == ("off",)


def exported(demo):
    url = demo.served["DATABASE_URL"]
    return query(url, "SELECT count(exported_at) FROM campaign_metrics")[0][0]


@pytest.mark.slow
def test_the_demo_writes_campaigns_syncs_them_and_goes_on(demo):
    told = demo.output.read_text().partition("Synced: ")[2]
    if "A scheduled run may have been first" not in told:
        assert int(told.split()[0]) > 3_500, told
        assert "requests, throttled" in told
    wait_until(lambda: exported(demo) > 3_500, demo)
    rows = demo.rows()
    wait_until(lambda: demo.rows() > rows, demo)
    runs = demo.ask(
        '{ runsOrError(filter: {pipelineName: "sync_campaign_metrics"}) {'
        " ... on Runs { results { status } } } }"
    )
    assert {"status": "SUCCESS"} in runs["runsOrError"]["results"]
    # What its writer does every minute.
    assert start_sync(demo.url, demo.own_secret, DEFAULT_LOCATION)
    assert not start_sync("http://127.0.0.1:1", demo.own_secret, DEFAULT_LOCATION)
    # Another user of this machine, without the token.
    assert not start_sync(demo.url, "", DEFAULT_LOCATION)
    turned_away = httpx.get(f"{demo.url}/server_info")
    assert turned_away.status_code == 401


@pytest.mark.slow
def test_an_interrupted_sync_says_that_its_run_goes_on(demo):
    """It is in the queue, as long as the daemon that would start it is suspended."""
    daemon = demo.pid(child_commands.DAEMON)
    assert daemon
    os.kill(daemon, signal.SIGSTOP)
    try:
        sync = subprocess.Popen(
            [sys.executable, "-m", "apex_pipeline.cli", "sync"],
            env=os.environ | {"APEX_STATE_DIR": str(demo.state)},
            stderr=subprocess.PIPE,
            text=True,
        )
        wait_until(lambda: _waiting_by_hand(demo), demo)
        (run_id,) = _waiting_by_hand(demo)
        sync.send_signal(signal.SIGINT)
        _, told = sync.communicate(timeout=SECONDS)
    finally:
        os.kill(daemon, signal.SIGCONT)
    assert f"Run {run_id} goes on in Dagster" in told
    wait_until(lambda: run_id not in _waiting_by_hand(demo), demo)


def _waiting_by_hand(demo: Running) -> list[str]:
    """Runs in the queue that no schedule or sensor asked for."""
    found = demo.ask(
        "{ runsOrError(filter: {statuses: [QUEUED]}) {"
        " ... on Runs { results { runId tags { key value } } } } }"
    )
    return [
        run["runId"]
        for run in found["runsOrError"]["results"]
        if any(tag["key"] == ACTOR_TAG and "@" in tag["value"] for tag in run["tags"])
    ]


@pytest.mark.slow
def test_a_second_one_in_the_same_place_says_so_and_leaves_the_first_alone(tmp_path):
    with apex_up(tmp_path / "state") as first:
        with starting(tmp_path / "state") as second:
            assert second.process.wait(SECONDS) == 1
            told = second.output.read_text()
            assert f"(pid {first.process.pid}, {first.url})" in told
        assert httpx.get(f"{first.url}/server_info").status_code == 200


@pytest.mark.slow
def test_a_start_that_is_interrupted_leaves_nothing_behind(tmp_path):
    with starting(tmp_path / "state") as running:
        wait_until(running.says("schema"), running)
        family = running.family()
        assert len(family) > 2

        assert running.stop(signal.SIGINT) == 0

    assert processes.survivors(family) == set()


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_shells_background_job_stops_too(tmp_path, number):
    """A shell starts background jobs with SIGINT ignored."""
    ignoring = ("sh", "-c", "trap '' INT; exec \"$@\"", "sh")
    with apex_up(tmp_path / "state", prefix=ignoring) as running:
        family = running.family()

        assert running.stop(number) == 0

    assert processes.survivors(family) == set()


@pytest.mark.slow
def test_every_service_that_dies_is_started_again(tmp_path):
    with apex_up(tmp_path / "state") as running:
        for name in (
            child_commands.DAEMON,
            child_commands.WEB_SERVER,
            child_commands.EMULATOR,
            child_commands.CODE_SERVER,
            child_commands.PANEL,
            child_commands.DATABASE,
        ):
            died = running.pid(name)
            assert died
            os.kill(died, signal.SIGKILL)
            wait_until(running.says(f"{name} runs again"), running)
            assert f"{name} was killed by SIGKILL" in running.output.read_text()
            assert running.pid(name) != died


@pytest.mark.slow
def test_after_a_kill_the_next_start_begins_with_a_clean_table(tmp_path, monkeypatch):
    state = tmp_path / "state"
    with apex_up(state) as killed:
        for name in ("DAGSTER_HOME", "DAGSTER_POSTGRES_URL"):
            monkeypatch.setenv(name, killed.served[name])
        with dg.DagsterInstance.get() as instance:
            lost = create_run_for_test(
                instance,
                job_name="sync_campaign_metrics",
                status=dg.DagsterRunStatus.STARTED,
            )
        family = killed.family()
        killed.process.kill()
        killed.process.wait()

    with apex_up(state) as running:
        assert processes.survivors(family) == set()
        status = running.ask(
            "query($run: ID!) { runOrError(runId: $run) { ... on Run { status } } }",
            run=lost.run_id,
        )
        assert status == {"runOrError": {"status": "CANCELED"}}
        assert running.says("Canceled runs that a kill had interrupted: 1.")()
        assert running.stop() == 0
