"""Fifty viewers of the panel, a Dataverse that takes 300 ms, and a day of tokens.

    python -m benchmarks.panel [--seconds 60]

The panel is a process of its own, as `apex panel` starts it; viewers, emulator and
Postgres share the machine with it. Each viewer asks again when the answer says, or up
to a twentieth later, as the page does. The day is simulated: a run
every five minutes, each a new process with nothing in memory, and people who look from
eight to six; the clock is made up, the tokens, the file and the token endpoint are not.
"""

import argparse
import asyncio
import os
import random
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from statistics import quantiles
from unittest.mock import patch

import httpx

from apex_pipeline.emulator import Clock, ServedEmulator, serve
from apex_pipeline.local import demo
from apex_pipeline.local.embedded_postgres import EmbeddedPostgres
from apex_pipeline.metrics import ENTITY_SET
from apex_pipeline.microsoft.http_transport import token_http
from apex_pipeline.microsoft.token_cache import TokenCacheFile
from apex_pipeline.microsoft.tokens import TokenSource
from apex_pipeline.postgres import migrations, store
from apex_pipeline.settings import DataverseSettings, load_settings
from apex_pipeline.sync.run import run_sync
from apex_pipeline.sync.run_options import SyncOptions

VIEWERS = 50
ARRIVAL_SECONDS = 10.0
DATAVERSE_SECONDS = 0.3
QUIET_SECONDS = 25.0
DAY_SECONDS = 86_400


def main() -> None:
    """Measure, and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=60.0)
    seconds = parser.parse_args().seconds
    with tempfile.TemporaryDirectory() as folder:
        watch_viewers(Path(folder), seconds)
    with tempfile.TemporaryDirectory() as folder:
        spend_a_day(Path(folder))


def watch_viewers(folder: Path, seconds: float) -> None:
    """Let many people look at a panel over a slow Dataverse."""
    postgres = EmbeddedPostgres(folder / "postgres")
    postgres.start()
    try:
        postgres.create_database("apex")
        url = postgres.url("apex")
        migrations.apply(url)
        demo.fill(url)
        with serve() as emulator:
            environment = _environment(emulator, url, folder)
            _deliver(environment)
            emulator.fault("slow", delay=DATAVERSE_SECONDS, count=None)
            with _panel(environment) as address:
                _measure(emulator, address, seconds)
    finally:
        postgres.stop()


def _measure(emulator: ServedEmulator, address: str, seconds: float) -> None:
    emulator.clear_requests()
    viewing = Viewing(address, time.monotonic() + seconds)
    asyncio.run(viewing.all())
    reads = [one for one in emulator.requests() if ENTITY_SET in str(one["path"])]
    first, *later = sorted(viewing.seconds, reverse=True)
    centiles = quantiles([first, *later], n=100)
    print(
        f"{VIEWERS} viewers for {seconds:.0f} s: {len(later) + 1} answers of /api/kpis, "
        f"P50 {centiles[49] * 1000:.1f} ms, P95 {centiles[94] * 1000:.1f} ms, "
        f"slowest {first * 1000:.0f} ms"
    )
    slowest = max(float(one["seconds"]) for one in reads)
    print(
        f"Dataverse was read {len(reads)} times, one every "
        f"{seconds / len(reads):.1f} s; the slowest read took {slowest * 1000:.0f} ms"
    )
    emulator.clear_requests()
    time.sleep(QUIET_SECONDS)
    print(f"… and {len(emulator.requests())} times in {QUIET_SECONDS:.0f} s of nobody")


@dataclass
class Viewing:
    """What the viewers saw."""

    address: str
    until: float
    seconds: list[float] = field(default_factory=list)

    async def all(self) -> None:
        """All viewers, each beginning at its own moment."""
        await asyncio.gather(*(self._one(number) for number in range(VIEWERS)))

    async def _one(self, number: int) -> None:
        await asyncio.sleep(ARRIVAL_SECONDS * number / VIEWERS)
        async with httpx.AsyncClient(base_url=self.address, timeout=30) as client:
            while time.monotonic() < self.until:
                begun = time.perf_counter()
                answer = await client.get("/api/kpis")
                self.seconds.append(time.perf_counter() - begun)
                jitter = random.uniform(1, 1.05)  # noqa: S311
                await asyncio.sleep(answer.json()["poll_after_s"] * jitter)


def spend_a_day(folder: Path) -> None:
    """Count how often a token was at hand in a day of runs and viewers."""
    now = time.time()

    def clock() -> float:
        return now

    with (
        serve(clock=Clock(clock, asyncio.sleep)) as emulator,
        # MSAL dates what it keeps by itself.
        patch("time.time", clock),
        token_http(emulator.ca_bundle) as http,
    ):
        settings = _settings(emulator)
        cache = TokenCacheFile(folder / "tokens.json")
        panel = TokenSource(settings, cache, http)
        runs: list[TokenSource] = []
        for second in range(0, DAY_SECONDS, 10):
            now += 10
            if second % 300 == 0:
                runs.append(TokenSource(settings, cache, http))
                for _ in range(2):
                    runs[-1].cached() or runs[-1].acquire()
            if 8 * 3600 <= second < 18 * 3600:
                panel.cached() or panel.acquire()
    every = [panel, *runs]
    hits, misses = (sum(one.hits for one in every), sum(one.misses for one in every))
    print(
        f"a day of {len(runs)} runs and ten hours of viewers: {hits + misses} requests, "
        f"{misses} tokens fetched, hit rate {100 * hits / (hits + misses):.2f} %"
    )


def _deliver(environment: dict[str, str]) -> None:
    settings = load_settings(environment)
    with store.connect(settings.database_url) as opened:
        report = run_sync(
            opened, settings.dataverse, settings.token_cache_path, SyncOptions()
        )
    if report.failure or report.remaining:
        sys.exit(f"not all was delivered: {report}")


@contextmanager
def _panel(environment: dict[str, str]) -> Iterator[str]:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    process = subprocess.Popen(
        [sys.executable, "-m", "apex_pipeline.cli", "panel", "--port", str(port)],
        env={"PATH": os.environ["PATH"], **environment},
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        if process.stdout is None or not process.stdout.readline():
            sys.exit("the panel did not start")
        yield f"http://127.0.0.1:{port}"
    finally:
        process.terminate()
        process.wait()


def _environment(
    emulator: ServedEmulator, database_url: str, folder: Path
) -> dict[str, str]:
    return {
        "DATABASE_URL": database_url,
        "DATAVERSE_RESOURCE": emulator.url,
        "AZURE_AUTHORITY_HOST": emulator.url,
        "AZURE_TENANT_ID": emulator.tenant_id,
        "AZURE_CLIENT_ID": emulator.client_id,
        "AZURE_CLIENT_SECRET": emulator.client_secret,
        "APEX_CA_BUNDLE": str(emulator.ca_bundle),
        "APEX_STATE_DIR": str(folder),
    }


def _settings(emulator: ServedEmulator) -> DataverseSettings:
    return DataverseSettings(
        resource=emulator.url,
        authority=emulator.authority,
        client_id=emulator.client_id,
        client_secret=emulator.client_secret,
        ca_bundle=emulator.ca_bundle,
    )


if __name__ == "__main__":
    main()
