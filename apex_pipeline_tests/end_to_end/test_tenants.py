"""Two tenants on one Dagster instance: what befalls one does not reach the other."""

import json
import ssl
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import httpx
import psycopg
import pytest

from apex_pipeline.local import child_commands, graphql_client, processes
from apex_pipeline.local.child_commands import of_tenant
from apex_pipeline.local.embedded_roles import PANEL_LOGIN, SYNC_LOGIN
from apex_pipeline.settings import Tenant
from apex_pipeline_tests.support.apex_up import (
    Running,
    apex_up,
    variables_of,
    wait_until,
)
from apex_pipeline_tests.support.ends import campaign_row, insert, query
from apex_pipeline_tests.support.receivers import Authority, Workflow, workflow
from apex_pipeline_tests.support.waiting import SECONDS

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1800)]

_SYNC = "sync_campaign_metrics"
# More than both tenants have places for.
_WAITING_RUNS = 12
_RUNS = """
query($job: String!) { runsOrError(filter: {pipelineName: $job}) {
    ... on Runs { results { runId status tags { key value } } }
} }
"""
_TICKS = """
query($location: String!, $name: String!) {
    instigationStateOrError(instigationSelector: {
        repositoryLocationName: $location, repositoryName: "__repository__", name: $name
    }) { ... on InstigationState {
        ticks { status runIds error { message } }
    } }
}
"""
_CANCEL = """
mutation($runs: [String!]!) { terminateRuns(
    runIds: $runs, terminatePolicy: MARK_AS_CANCELED_IMMEDIATELY
) { __typename } }
"""
_TABLES = """
    SELECT format('%I.%I', schemaname, tablename) FROM pg_tables
    WHERE schemaname NOT IN ('pg_catalog', 'information_schema')
"""


@dataclass
class One:
    """A tenant of a running `apex up`, from outside."""

    name: str
    running: Running
    channel: Workflow

    @property
    def state(self) -> Path:
        return self.running.state / "tenants" / self.name

    @property
    def served(self) -> dict[str, str]:
        found: dict[str, str] = json.loads((self.state / "local.json").read_text())
        return found

    @property
    def database_url(self) -> str:
        return self.served["DATABASE_URL"]

    @property
    def token(self) -> str:
        return f"panel-sentinel-of-{self.name}"

    @property
    def sentinels(self) -> set[str]:
        """What no other tenant's things may hold: secrets, a row, its name."""
        application = json.loads((self.state / "application.json").read_text())
        logins = json.loads((self.state / "postgres" / "logins.json").read_text())
        return {
            self.token,
            self.row_sentinel,
            application["AZURE_CLIENT_SECRET"],
            logins[SYNC_LOGIN],
            logins[PANEL_LOGIN],
            f"{self.name}:",
            f"{self.name}/",
        }

    @property
    def row_sentinel(self) -> str:
        return f"row-{self.name}"

    def add(self, **values: object) -> str:
        """A new row; its id."""
        row = campaign_row(phase=self.row_sentinel) | values
        insert(self.database_url, [row])
        return str(row["id"])

    def control(self, method: str, path: str, body: object = None) -> Any:
        secret = (self.state / "emulator" / "control_secret").read_text()
        trusted = ssl.create_default_context(
            cafile=str(self.state / "tls" / "authority.pem")
        )
        with httpx.Client(verify=trusted, timeout=SECONDS) as client:
            answer = client.request(
                method,
                f"{self.served['DATAVERSE_RESOURCE']}/_emulator/{path}",
                headers={"Authorization": f"Bearer {secret.strip()}"},
                json=body,
            )
        assert answer.is_success, answer.text
        return answer.json() if answer.content else None

    def records(self) -> set[str]:
        found = self.control("GET", "records/apex_campaignmetrics")
        return {record["apex_campaignmetricsid"] for record in found}

    def has_delivered(self, row: str) -> bool:
        statement = (
            "SELECT id::text FROM campaign_metrics WHERE exported_at IS NOT NULL"
        )
        return (row,) in query(self.database_url, statement)

    @property
    def location(self) -> str:
        return f"apex_pipeline-{self.name}"

    def syncs(self, status: str) -> set[str]:
        """The runs of the sync with this status."""
        found = self.running.ask(_RUNS, job=_SYNC)
        tag = {"key": "apex/tenant", "value": self.name}
        runs = found["runsOrError"]["results"]
        return {
            run["runId"]
            for run in runs
            if run["status"] == status and tag in run["tags"]
        }

    def start_sync(self) -> None:
        url, secret = self.running.url, self.running.own_secret
        assert graphql_client.start_sync(url, secret, self.location)

    def ticks(self) -> list[dict[str, Any]]:
        """What the schedule and the sensor of the sync have done."""
        ticks = []
        for name in ("sync_every_five_minutes", "sync_on_arrival"):
            found = self.running.ask(_TICKS, location=self.location, name=name)
            ticks += found["instigationStateOrError"]["ticks"]
        return ticks

    def panel(self, path: str, token: str) -> httpx.Response:
        address = f"http://127.0.0.1:{self.served['APEX_PANEL_PORT']}{path}"
        headers = {"Authorization": f"Bearer {token}"}
        return httpx.get(address, headers=headers, timeout=SECONDS)

    def holds(self) -> dict[str, str]:
        """All that this tenant has, as text, by where it is."""
        found = {"channel": json.dumps(self.channel.cards)}
        found["dataverse"] = json.dumps(
            self.control("GET", "records/apex_campaignmetrics")
        )
        found["database"] = "".join(
            str(row)
            for (table,) in query(self.database_url, _TABLES)
            for row in query(self.database_url, f"SELECT t::text FROM {table} AS t")
        )
        for path in ("/", "/api/kpis", "/api/metrics/recent", "/metrics"):
            found[f"panel {path}"] = self.panel(path, self.token).text
        for log in (self.running.state / "logs").glob(f"*_of_{self.name}.log"):
            found[log.name] = log.read_text()
        for child in (child_commands.CODE_SERVER, child_commands.PANEL):
            pid = self.running.pid(of_tenant(child, Tenant(self.name)))
            assert pid
            for process in processes.family(pid):
                key = f"variables of {child} {process.pid}"
                found[key] = str(variables_of(process.pid))
        return found


@pytest.fixture(scope="module")
def tenants(
    tmp_path_factory: pytest.TempPathFactory, authority: Authority
) -> Iterator[tuple[One, One]]:
    """Both with a delivered row."""
    folder = tmp_path_factory.mktemp("tenants")
    with workflow(authority) as first, workflow(authority) as second:
        channels = {"acme": first, "globex": second}
        for name, channel in channels.items():
            (folder / f"{name}.env").write_text(
                f"APEX_PANEL_TOKEN=panel-sentinel-of-{name}\n"
                f"APEX_TEAMS_WEBHOOK_URL={channel.url}-of-{name}\n"
                f"APEX_CA_BUNDLE={authority.ca_bundle}\n"
                "APEX_SYNC_ON_ARRIVAL=5s\n"
            )
        listed = "".join(f'{name} = "{name}.env"\n' for name in channels)
        (folder / "tenants.toml").write_text(f"[tenants]\n{listed}")
        file = str(folder / "tenants.toml")
        as_json = {"APEX_LOG_FORMAT": "json"}
        with apex_up(folder / "state", "--tenants", file, variables=as_json) as running:
            found = [One(name, running, channels[name]) for name in channels]
            for one in found:
                row = one.add()
                wait_until(partial(one.has_delivered, row), running)
            yield found[0], found[1]


@pytest.fixture(autouse=True)
def _no_fault_outlasts_its_test(tenants: tuple[One, One]) -> Iterator[None]:
    yield
    for one in tenants:
        one.control("DELETE", "faults")


def test_a_poisoned_a_throttled_and_a_dead_end_leave_the_other_tenant_as_it_was(
    tenants,
):
    acme, globex = tenants
    running = acme.running

    # A row that Dataverse cannot take goes to the quarantine of its own tenant.
    acme.add(phase="too long for the column")
    row = globex.add()
    wait_until(lambda: globex.has_delivered(row), running)
    held = "SELECT count(*) FROM campaign_metrics_quarantine"
    wait_until(lambda: query(acme.database_url, held) == [(1,)], running)
    assert query(globex.database_url, held) == [(0,)]

    # While Dataverse makes one wait, the other's run begins and ends.
    wait = {"kind": "status", "status": 429, "retry_after": "120", "count": None}
    acme.control("POST", "faults", wait)
    throttled = acme.add()
    wait_until(lambda: acme.syncs("STARTED"), running)
    row = globex.add()
    wait_until(lambda: globex.has_delivered(row), running)
    assert not acme.has_delivered(throttled)

    # While one's Dataverse is gone, the other's rows arrive, and one team is told.
    acme.control("DELETE", "faults")
    acme.control("POST", "faults", {"kind": "drop_before", "count": None})
    wait_until(lambda: acme.channel.cards, running, seconds=3 * SECONDS)
    rows = [globex.add() for _ in range(3)]
    wait_until(lambda: all(map(globex.has_delivered, rows)), running)
    assert not acme.has_delivered(throttled)
    assert globex.syncs("FAILURE") == set()
    assert globex.channel.titles == [], globex.channel.cards
    assert all("acme: " in json.dumps(card) for card in acme.channel.cards)

    # And when it is back, so are its rows.
    acme.control("DELETE", "faults")
    wait_until(lambda: acme.has_delivered(throttled), running, seconds=3 * SECONDS)


def test_rows_wait_for_no_place_that_runs_of_another_tenant_hold_or_wait_for(tenants):
    acme, globex = tenants
    running = acme.running
    wait_until(lambda: not acme.syncs("STARTED"), running)

    # One run of acme stands still, and more than there are places wait behind it.
    acme.control("POST", "faults", {"kind": "slow", "delay": 300, "count": None})
    acme.add()
    for _ in range(_WAITING_RUNS):
        acme.start_sync()
    wait_until(lambda: acme.syncs("STARTED"), running)
    waiting = acme.syncs("QUEUED")
    assert len(waiting) >= _WAITING_RUNS - 1

    ledger = "SELECT count(*) FILTER (WHERE finished_at IS NULL), max(id) FROM sync_run"
    wait_until(lambda: query(globex.database_url, ledger)[0][0] == 0, running)
    ((_, last_run),) = query(globex.database_url, ledger)
    delivering = (
        "SELECT dagster_run_id, status, rows_read, delivered, remaining, "
        "throttled_seconds FROM sync_run "
        f"WHERE id > {last_run} AND finished_at IS NOT NULL AND rows_read > 0"
    )

    def runs() -> list[tuple[Any, ...]]:
        return query(globex.database_url, delivering)

    def has_made(count: int) -> bool:
        return len(runs()) == count

    for count in range(1, 6):
        globex.add()
        wait_until(partial(has_made, count), running)

    # Whoever came later did not wait until they had ended.
    assert waiting & acme.syncs("QUEUED")
    # Each row came by a run of its own, which stood still for nobody; and each run that
    # a tick asked for has succeeded.
    assert [run[1:] for run in runs()] == [("success", 1, 1, 0, 0.0)] * 5
    ticks = globex.ticks()
    assert [tick["error"] for tick in ticks if tick["status"] == "FAILURE"] == []
    requested = {run for tick in ticks for run in tick["runIds"]}
    assert {run[0] for run in runs()} <= requested
    wait_until(lambda: requested <= globex.syncs("SUCCESS"), running)
    assert globex.channel.titles == [], globex.channel.cards

    running.ask(_CANCEL, runs=list(acme.syncs("QUEUED")))
    acme.control("DELETE", "faults")


def test_no_row_secret_or_alert_of_one_is_in_anything_of_the_other(tenants):
    for mine, other in (tenants, reversed(tenants)):
        own = "".join(mine.holds().values())
        # They are found where they belong.
        assert [each for each in mine.sentinels if each not in own] == []
        found = {
            (place, sentinel)
            for place, text in mine.holds().items()
            for sentinel in other.sentinels
            if sentinel in text
        }
        assert found == set()
        assert not mine.records() & other.records()


def test_a_panel_opens_with_its_own_tenants_token_alone(tenants):
    for mine, other in (tenants, reversed(tenants)):
        assert mine.panel("/api/kpis", mine.token).status_code == 200
        assert mine.panel("/api/kpis", other.token).status_code == 401


def test_no_login_of_one_tenants_database_opens_the_others(tenants):
    acme, globex = tenants
    logins = json.loads((acme.state / "postgres" / "logins.json").read_text())
    place = globex.database_url.rpartition("@")[2]
    assert logins
    for login, password in logins.items():
        with pytest.raises(psycopg.OperationalError, match="password authentication"):
            psycopg.connect(f"postgresql://{login}:{password}@{place}")


def test_what_all_tenants_share_holds_no_secret_and_no_log_a_row(tenants):
    state = tenants[0].running.state
    logs = "".join(
        path.read_text()
        for path in (state / "logs").glob("*.log")
        if "_of_" not in path.name
    )
    assert logs
    storage = tenants[0].served["DAGSTER_POSTGRES_URL"]
    events = "".join(
        str(row)
        for (table,) in query(storage, _TABLES)
        for row in query(storage, f"SELECT t::text FROM {table} AS t")
    )
    assert "acme" in events
    for one in tenants:
        for secret in one.sentinels - {f"{one.name}:", f"{one.name}/"}:
            assert secret not in logs
            # A materialization shows the last rows that it delivered.
            assert secret == one.row_sentinel or secret not in events


def test_each_line_of_each_process_is_an_object_that_names_its_tenant(tenants):
    logs = tenants[0].running.state / "logs"
    runs = set()
    for one in (*tenants, None):
        whose = [one.name] if one else []
        kinds = (
            (child_commands.CODE_SERVER, child_commands.PANEL)
            if one
            else (child_commands.WEB_SERVER, child_commands.DAEMON)
        )
        for kind in kinds:
            name = of_tenant(kind, Tenant(*whose)).replace(" ", "_")
            lines = (logs / f"{name}.log").read_text().splitlines()
            found = [json.loads(line) for line in lines]
            assert found, name
            assert {each["tenant"] for each in found} == {one.name if one else None}
            assert all({"time", "level", "request_id"} <= each.keys() for each in found)
            runs |= {each["run_id"] for each in found} - {None}
    assert runs
