"""The image and the Compose file, run for real; `.ci/containers` prepares the ground."""

import json
import os
import shutil
import signal
import socket
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml

from apex_pipeline_tests.support.waiting import wait_until

pytestmark = [pytest.mark.containers, pytest.mark.timeout(1500)]

ROOT = Path(__file__).parents[2]
BASE = "docker.io/library/python:3.13-slim"
IMAGE = "localhost/apex-pipeline:latest"
MIB = 1 << 20
# Nothing is shared with another one that runs beside these tests.
PROJECT = f"apex-test-{os.getpid()}"
PASSWORD = "password-of-the-database"
SECRET = "secret-of-the-application"
TOKEN = "token-of-the-panel"
SERVICES = [
    *("postgres", "metrics", "emulator", "code-server", "daemon", "webserver", "panel")
]
_MINUTES = 5 * 60.0

ROWS = """
    INSERT INTO campaign_metrics (
        id, campaign_id, run_id, phase, agents_total, agents_successful,
        assets_generated, tokens_in, tokens_out, cost_usd, latency_p95_ms,
        latency_avg_ms, success_rate_pct, created_at
    )
    SELECT gen_random_uuid(), gen_random_uuid(), gen_random_uuid(), '2-3', 5, 4,
        3, 1500, 3000, 0.00348, 51200, 42000, 80, now()
    FROM generate_series(1, 3)
"""


def podman(*arguments: str, check: bool = True) -> str:
    done = subprocess.run(
        ["podman", *arguments], capture_output=True, text=True, check=False
    )
    assert not check or done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def inspected(name: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(podman("inspect", name))[0]
    return found


def run(*arguments: str) -> str:
    return podman("run", "--rm", "--network", "none", "--read-only", *arguments)


def test_the_image_adds_no_more_than_330_mb_to_its_base():
    assert inspected(IMAGE)["Size"] - inspected(BASE)["Size"] < 330 * MIB


def test_the_image_says_what_it_is_and_runs_as_nobody_in_particular():
    image = inspected(IMAGE)
    config = image["Config"]
    assert config["User"] == "10001:10001"
    assert image["Labels"]["org.opencontainers.image.title"] == "apex_pipeline"
    assert image["Labels"]["org.opencontainers.image.licenses"] == "Apache-2.0"
    assert image["Healthcheck"]["Test"] == ["CMD", "entrypoint", "health"]


def test_any_user_runs_it_without_a_home_and_can_write_nothing():
    told = run(
        *("--user", "54321", "--env", "HOME=", IMAGE),
        *("sh", "-c", "id -u; apex --version; touch /opt/apex/x 2>&1 || echo refused"),
    )
    user, version, *_, refused = told.splitlines()
    assert user == "54321"
    assert version.startswith("apex")
    assert refused == "refused"


def test_nothing_is_in_it_that_only_a_build_needs():
    told = run(
        *("--user", "0", IMAGE),
        *("find", "/opt", "/var/lib/apex", "/usr/local", "/tmp"),
    )
    paths = told.splitlines()
    assert any(path.endswith("apex_pipeline/definitions.py") for path in paths)
    odd = ("/.git", "/apex_pipeline_tests", "/tests", "/.cache", "/pip", "/.env")
    assert [path for path in paths if path.endswith(odd)] == []
    told = run(IMAGE, "sh", "-c", "command -v gcc cc make pip git || true")
    assert told == ""


def test_its_history_names_no_registry_of_packages_and_no_secret():
    history = podman("history", "--no-trunc", "--format", "{{.CreatedBy}}", IMAGE)
    assert "index-url" not in history
    assert "SECRET=" not in history.upper()


def free_address() -> str:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return f"127.0.0.1:{one.getsockname()[1]}"


@dataclass(frozen=True, slots=True)
class Composed:
    """What `podman-compose` brought up from a copy of deploy/."""

    folder: Path
    panel: str
    ui: str

    def compose(self, *arguments: str) -> None:
        done = subprocess.run(
            ["podman-compose", "-p", PROJECT, "--profile", "demo", *arguments],
            cwd=self.folder,
            env=os.environ
            | {
                "APEX_ENV_FILE": "demo.env",
                "APEX_PANEL_AT": self.panel,
                "APEX_UI_AT": self.ui,
            },
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stdout + done.stderr

    def name(self, service: str) -> str:
        return f"{PROJECT}_{service}_1"

    def asked(self, statement: str) -> str:
        return podman(
            *("exec", self.name("metrics"), "psql", "--host", "/tmp", "--username"),
            *("apex", "--dbname", "apex", "--tuples-only", "--no-align", "--command"),
            statement,
            check=False,
        ).strip()

    def add_rows(self) -> None:
        wait_until(lambda: self.asked(ROWS) == "INSERT 0 3", seconds=_MINUTES)

    def delivered(self) -> int:
        told = self.asked("SELECT count(exported_at) FROM campaign_metrics")
        return int(told) if told.isdigit() else -1

    def is_all_delivered(self) -> bool:
        waiting = "SELECT count(*) FROM campaign_metrics WHERE exported_at IS NULL"
        return self.asked(waiting) == "0"

    def kpis(self) -> int:
        return self.status("/api/kpis")

    def status(self, path: str) -> int:
        """What the panel answers; 0 for no answer in time."""
        try:
            answer = httpx.get(
                f"http://{self.panel}{path}",
                headers={"Authorization": f"Bearer {TOKEN}"},
                timeout=10,
            )
        except httpx.HTTPError:
            return 0
        return answer.status_code

    def kill(self, service: str) -> None:
        """Kill it, and wait until another process runs in its place."""
        name = self.name(service)
        pid = inspected(name)["State"]["Pid"]
        # From outside: what podman kills itself, it takes to be stopped on purpose.
        os.kill(pid, signal.SIGKILL)

        def is_replaced() -> bool:
            return inspected(name)["State"]["Pid"] not in {0, pid}

        wait_until(is_replaced, seconds=_MINUTES)

    def is_well(self, service: str) -> bool:
        """As the container's own health check has it."""
        if not inspected(self.name(service))["State"]["Running"]:
            return False
        done = subprocess.run(
            ["podman", "healthcheck", "run", self.name(service)],
            capture_output=True,
            check=False,
        )
        return done.returncode == 0


@pytest.fixture(scope="module")
def composed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Composed]:
    folder = tmp_path_factory.mktemp("compose") / "deploy"
    shutil.copytree(ROOT / "deploy", folder)
    secrets = folder / "secrets"
    secrets.mkdir()
    for name, text in {
        "postgres_password": PASSWORD,
        "dagster_postgres_url": f"postgresql://dagster:{PASSWORD}@postgres/dagster",
        "database_url": f"postgresql://apex:{PASSWORD}@metrics/apex",
        "azure_client_secret": SECRET,
        "panel_token": TOKEN,
    }.items():
        (secrets / name).write_text(text)
        (secrets / name).chmod(0o644)
    services = yaml.safe_load((folder / "compose.yaml").read_text())
    for service in services["services"].values():
        # Podman restarts no container while one that it depends on has ended.
        service.get("depends_on", {}).pop("migrate", None)
    (folder / "compose.yaml").write_text(yaml.safe_dump(services))
    with (folder / "demo.env").open("a") as variables:
        variables.write("APEX_SYNC_ON_ARRIVAL=15s\n")
    found = Composed(folder, free_address(), free_address())
    try:
        found.compose("up", "--detach", "--no-build")
        yield found
    finally:
        found.compose("down", "--volumes")


def test_rows_arrive_by_themselves_and_the_panel_shows_them(composed):
    wait_until(lambda: composed.delivered() >= 0, seconds=_MINUTES)
    known = composed.delivered()
    composed.add_rows()
    wait_until(composed.is_all_delivered, seconds=_MINUTES)
    wait_until(lambda: composed.kpis() == 200, seconds=_MINUTES)
    assert composed.delivered() == known + 3


def test_neither_the_doctor_nor_the_watch_finds_anything_wrong_within(composed):
    podman("exec", composed.name("code-server"), "apex", "doctor")
    told = podman("exec", composed.name("code-server"), "apex", "alerts", "list")
    assert "nearly full" not in told


REACHES = """
import socket, sys
try:
    socket.create_connection((sys.argv[1], int(sys.argv[2])), 5).close()
except OSError:
    print("closed")
else:
    print("open")
"""
LISTENS = """
import pathlib
lines = pathlib.Path("/proc/net/tcp").read_text().splitlines()[1:]
print(sorted(int(l.split()[1].split(":")[1], 16) for l in lines if l.split()[3] == "0A"))
"""


def test_the_panel_reaches_nothing_of_dagsters(composed):
    def told(service: str, *program: str) -> str:
        return podman("exec", composed.name(service), "python3", "-c", *program).strip()

    for service, host, port, answer in (
        ("panel", "metrics", "5432", "open"),
        ("panel", "postgres", "5432", "closed"),
        ("panel", "webserver", "3000", "closed"),
        ("panel", "code-server", "4000", "closed"),
        ("webserver", "postgres", "5432", "open"),
        ("webserver", "metrics", "5432", "closed"),
        ("emulator", "code-server", "4000", "closed"),
    ):
        assert told(service, REACHES, host, port) == answer, (service, host)
    # Podman's own name server is not in here.
    assert 4000 not in json.loads(told("code-server", LISTENS))


def test_each_process_that_is_killed_comes_back_and_delivery_goes_on(composed):
    for service in SERVICES:
        composed.kill(service)
    for service in ("code-server", "daemon", "webserver", "panel"):
        wait_until(partial(composed.is_well, service), seconds=_MINUTES)
    known = composed.delivered()
    composed.add_rows()
    wait_until(composed.is_all_delivered, seconds=_MINUTES)
    assert composed.delivered() == known + 3


def test_a_network_that_was_cut_heals(composed):
    name = composed.name("metrics")
    (network,) = inspected(name)["NetworkSettings"]["Networks"]
    known = composed.delivered()
    podman("network", "disconnect", "--force", network, name)
    composed.add_rows()
    # The figures stay those that were read before.
    wait_until(lambda: composed.status("/readyz") != 200, seconds=_MINUTES)
    podman("network", "connect", "--alias", "metrics", network, name)
    wait_until(composed.is_all_delivered, seconds=_MINUTES)
    wait_until(lambda: composed.status("/readyz") == 200, seconds=_MINUTES)
    assert composed.delivered() == known + 3


def test_down_and_up_lose_nothing(composed):
    known = composed.delivered()
    composed.compose("down")
    composed.compose("up", "--detach", "--no-build")
    wait_until(lambda: composed.delivered() == known, seconds=_MINUTES)
    composed.add_rows()
    wait_until(composed.is_all_delivered, seconds=_MINUTES)
    assert composed.delivered() == known + 3


def test_no_secret_is_in_an_argument_or_a_log(composed):
    for service in SERVICES:
        name = composed.name(service)
        told = podman("logs", name) + podman("top", name, "args")
        assert [each for each in (PASSWORD, SECRET, TOKEN) if each in told] == []
