"""Delivery: ours beside others, on services of several speeds, with limits and faults."""

import json
import os
import shutil
import ssl
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import httpx
import psycopg
from psycopg import sql

from apex_pipeline.emulator import ServedEmulator
from apex_pipeline.local.embedded_postgres import EmbeddedPostgres
from apex_pipeline.postgres import migrations
from benchmarks.contenders import TABLE
from benchmarks.modelled_service import SECRET, Speed, modelled_service

NODE_CLIENT = "dynamics-web-api@2.5.0"
_HERE = Path(__file__).parent
_TIMEOUT_SECONDS = 600
_MIGRATED = "migrated"
_SECONDS_APART = 1.0
"""`Retry-After` is a whole number of seconds, so a request within the first second after a
429 ignores it, whatever its value."""

_NOTICING_SECONDS = 0.2
"""A request that arrives this soon after a 429 was sent before its client knew of it."""

TITLES = {
    "ours": "**apex_pipeline**, from Postgres to the mark",
    "ours-again": "**apex_pipeline** in its second run, which knows the pace",
    "sdk": "Microsoft's SDK 1.1.0 as it comes, one call with all rows",
    "sdk-chunks": "… called for each 100 rows",
    "sdk-async": "… asynchronous, 100 rows, ten slots made by hand",
    "dynamics-web-api": "DynamicsWebApi 2.5.0, 100 rows, ten slots made by hand",
    "dlt": "dlt 1.31.0, custom destination, batches of 100",
    "drt": "drt-core 1.2.1, REST destination, batches of 100",
    "flow": "the replaced flow: a create and an UPDATE a row",
    "flow-50": "… fifty at a time",
}

PROFILES = {
    "90 ms + 10 ms a row, hint 10": Speed(0.09, 0.01, 0.1, 10),
    "25 ms a row, hint 5": Speed(0.0, 0.025, 0.025, 5),
    "800 ms + 1 ms a row, hint 10": Speed(0.8, 0.001, 0.8, 10),
    "1.5 s a row, hint 4": Speed(0.0, 1.5, 1.5, 4),
    "no latency, hint 10": Speed(0.0, 0.0, 0.0, 10),
}


@dataclass(frozen=True, slots=True)
class Result:
    """One delivery, as the service and the operating system saw it.

    Attributes:
        seconds: From the first write's arrival to the last one's answer.
        landed: Rows that are in Dataverse, each counted once.
        twice: Records beyond the first of a row.
        in_flight: Most writes that were under way at once.
        ignored: A user's requests within a second after a 429 that it could have known of.
        stopped: The error that ended the contender; empty if it finished.
    """

    rows: int
    seconds: float
    landed: int
    twice: int
    requests: int
    in_flight: int
    throttled: int
    ignored: int
    cpu: float
    peak_mib: float
    stopped: str

    @property
    def rate(self) -> float:
        """Rows that landed per second."""
        return self.landed / self.seconds if self.seconds else 0.0


@dataclass(slots=True)
class Bench:
    """What all deliveries share: a Postgres, a folder, and the npm client.

    Attributes:
        node: Folder with the JavaScript client; None where npm is not available.
    """

    postgres: EmbeddedPostgres
    folder: Path
    node: Path | None
    _numbers: Iterator[int] = field(default_factory=count)

    def database(self) -> str:
        """A new database with our schema and no rows."""
        name = f"bench_{next(self._numbers)}"
        with psycopg.connect(self.postgres.url("postgres"), autocommit=True) as admin:
            admin.execute(
                sql.SQL("CREATE DATABASE {} TEMPLATE {}").format(
                    sql.Identifier(name), sql.Identifier(_MIGRATED)
                )
            )
        return self.postgres.url(name)


@contextmanager
def bench() -> Iterator[Bench]:
    """Start the Postgres and install the npm client."""
    with tempfile.TemporaryDirectory(prefix="apex-bench-") as name:
        folder = Path(name)
        server = EmbeddedPostgres(folder / "postgres", settings={"fsync": "off"})
        server.start()
        try:
            server.create_database(_MIGRATED)
            migrations.apply(server.url(_MIGRATED))
            yield Bench(server, folder, _node(folder / "node"))
        finally:
            server.stop()


def _node(folder: Path) -> Path | None:
    if shutil.which("npm") is None:
        return None
    folder.mkdir()
    npm = ["npm", "install", "--no-audit", "--no-fund", "--prefix", str(folder)]
    done = subprocess.run([*npm, NODE_CLIENT], capture_output=True, check=False)
    if done.returncode:
        return None
    shutil.copy(_HERE / "dynamics_web_api.mjs", folder)
    return folder


def available(bench: Bench, name: str) -> bool:
    """Whether a contender is installed."""
    needs = {"dlt": "dlt", "drt": "drt"}
    if name == "dynamics-web-api":
        return bench.node is not None
    if name not in needs:
        return True
    found = subprocess.run(
        [sys.executable, "-c", f"import {needs[name]}"],
        capture_output=True,
        check=False,
    )
    return not found.returncode


def deliver(
    bench: Bench,
    contender: str,
    speed: Speed,
    rows: int,
    *,
    faults: Sequence[dict[str, Any]] = (),
    bad_every: int = 0,
    users: int = 1,
) -> Result:
    """Deliver new rows with one contender to a new service."""
    records = [_record(number, bad_every) for number in range(rows)]
    with modelled_service(speed) as service:
        others = [str(uuid4()) for _ in range(users - 1)]
        for client_id in others:
            service.register(client_id, client_secret=SECRET)
        token = _prepared(service)
        earlier = contender == "ours-again" and [_record(n, 0) for n in range(rows)]
        told = _ends(bench, contender, service, earlier or records, token)
        told |= {"window_seconds": speed.window_seconds, "others": others}
        if earlier:
            _run(bench, "ours", service, told)
            contender = "ours"
            _insert(told["database_url"], records)
        service.clear_requests()
        if faults:
            for fault in faults:
                service.fault(**fault)
        said = _run(bench, contender, service, told)
        service.clear_faults()
        return _result(service, records, said)


def _record(number: int, bad_every: int) -> dict[str, Any]:
    is_bad = bad_every and number % bad_every == bad_every // 2
    return {
        "apex_campaignmetricsid": str(uuid4()),
        "apex_campaignid": str(UUID(int=number % 50)),
        "apex_runid": str(uuid4()),
        "apex_phase": "a phase that is too long" if is_bad else "2-3",
        "apex_agentstotal": 5,
        "apex_agentssuccessful": 4,
        "apex_assetsgenerated": number % 40,
        "apex_tokensin": 1500 + number,
        "apex_tokensout": 3000,
        "apex_costusd": 0.00348,
        "apex_latencyp95ms": 51200,
        "apex_latencyavgms": 42000,
        "apex_successrate": 80.0,
        "apex_createdat": "2026-11-01T13:00:00Z",
    }


def _prepared(service: ServedEmulator) -> str:
    """Get a token, and create the alternate key that the SDK's upsert needs."""
    context = ssl.create_default_context(cafile=str(service.ca_bundle))
    with httpx.Client(verify=context, timeout=60) as client:
        answer = client.post(
            f"{service.authority}/oauth2/v2.0/token",
            data={
                "grant_type": "client_credentials",
                "client_id": service.client_id,
                "client_secret": SECRET,
                "scope": f"{service.url}/.default",
            },
        )
        token = str(answer.json()["access_token"])
        client.post(
            f"{service.api}/EntityDefinitions(LogicalName='{TABLE}')/Keys",
            headers={"Authorization": f"Bearer {token}"},
            json={
                "SchemaName": "apex_Run",
                "DisplayName": {
                    "LocalizedLabels": [{"Label": "Run", "LanguageCode": 1033}]
                },
                "KeyAttributes": ["apex_campaignid", "apex_runid"],
            },
        ).raise_for_status()
    return token


def _ends(
    bench: Bench,
    contender: str,
    service: ServedEmulator,
    records: list[dict[str, Any]],
    token: str,
) -> dict[str, Any]:
    folder = Path(tempfile.mkdtemp(dir=bench.folder))
    path = folder / "rows.jsonl"
    path.write_text("".join(json.dumps(each) + "\n" for each in records))
    database_url = ""
    if contender in {"ours", "ours-again", "flow", "flow-50"}:
        database_url = bench.database()
        _insert(database_url, records)
    return {
        "url": service.url,
        "authority": service.authority,
        "client_id": service.client_id,
        "secret": SECRET,
        "ca": str(service.ca_bundle),
        "token": token,
        "database_url": database_url,
        "folder": str(folder),
        "rows": str(path),
    }


_COLUMNS = (
    *("id", "campaign_id", "run_id", "phase", "agents_total", "agents_successful"),
    *("assets_generated", "tokens_in", "tokens_out", "cost_usd", "latency_p95_ms"),
    *("latency_avg_ms", "success_rate_pct", "created_at"),
)


def _insert(database_url: str, records: list[dict[str, Any]]) -> None:
    """Write the rows as the agents do; the values are in the order of the columns."""
    names = ", ".join(_COLUMNS)
    with psycopg.connect(database_url) as connection, connection.cursor() as cursor:
        with cursor.copy(f"COPY campaign_metrics ({names}) FROM STDIN") as copy:
            for record in records:
                copy.write_row([*record.values()])
        connection.execute("CREATE INDEX ON campaign_metrics (run_id)")
        connection.execute("ANALYZE campaign_metrics")


def _run(
    bench: Bench, contender: str, service: ServedEmulator, told: dict[str, Any]
) -> dict[str, Any]:
    if contender == "dynamics-web-api":
        command = ["node", str(_required(bench.node) / "dynamics_web_api.mjs")]
    else:
        command = [sys.executable, "-m", "benchmarks.contenders", contender]
    ca = str(service.ca_bundle)
    trusting = ("REQUESTS_CA_BUNDLE", "SSL_CERT_FILE", "NODE_EXTRA_CA_CERTS")
    try:
        done = subprocess.run(
            command,
            input=json.dumps(told),
            env=os.environ | dict.fromkeys(trusting, ca),
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            timeout=_TIMEOUT_SECONDS,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return {"cpu": 0, "peak_kib": 0, "stopped": f"over {_TIMEOUT_SECONDS} s"}
    lines = done.stdout.strip().splitlines() or ["{}"]
    ended = f"exit {done.returncode}"
    found: dict[str, Any] = json.loads(lines[-1])
    return {"cpu": 0, "peak_kib": 0, "stopped": ended} | found


def _required(folder: Path | None) -> Path:
    if folder is None:
        raise RuntimeError("npm is not available")
    return folder


def _result(
    service: ServedEmulator, sent: list[dict[str, Any]], said: dict[str, Any]
) -> Result:
    writes = [
        each
        for each in service.requests()
        if each["method"] in {"POST", "PATCH"}
        if each["path"].startswith("/api/data")
    ]
    wanted = {each["apex_runid"] for each in sent}
    found = [each["apex_runid"] for each in service.records(TABLE)]
    found = [each for each in found if each in wanted]
    landed = len({*found})
    edges = sorted(
        edge
        for each in writes
        for edge in ((each["at"], 1), (each["at"] + each["seconds"], -1))
    )
    under_way = most = 0
    for _, step in edges:
        under_way += step
        most = max(most, under_way)
    # Limits and pauses are those of each user. An injected 429 comes before the service
    # knows who asks; then there is one user.
    refusals = [
        (e["application"], e["at"] + e["seconds"]) for e in writes if e["status"] == 429
    ]
    ignored = sum(
        any(
            _NOTICING_SECONDS < each["at"] - at < _SECONDS_APART
            for user, at in refusals
            if user in {None, each["application"]}
        )
        for each in writes
    )
    return Result(
        rows=len(sent),
        seconds=(edges[-1][0] - edges[0][0]) if edges else 0.0,
        landed=landed,
        twice=len(found) - landed,
        requests=len(writes),
        in_flight=most,
        throttled=len(refusals),
        ignored=ignored,
        cpu=said["cpu"],
        peak_mib=said["peak_kib"] / 1024,
        stopped=said["stopped"],
    )


def middle(results: Sequence[Result]) -> Result:
    """The run with the median rate."""
    return sorted(results, key=lambda each: each.rate)[(len(results) - 1) // 2]


def spread(results: Sequence[Result]) -> str:
    """Median rate, with the lowest and highest of several runs."""
    rates = [each.rate for each in results]
    text = f"{statistics.median(rates):,.0f}"
    if len(rates) > 1:
        text += f" ({min(rates):,.0f} to {max(rates):,.0f})"
    return text
