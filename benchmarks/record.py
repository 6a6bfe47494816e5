"""A million records out of a file into Postgres: rows per second and memory.

    python -m benchmarks.record [--rows 1000000]

The file is read by `apex record --file`, once as new records and once as known ones, from
JSON Lines and from CSV. Postgres is the embedded one and shares this machine; the memory
is the command's own, as the operating system accounts for it.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from uuid import UUID

import psycopg

from apex_pipeline.local.embedded_postgres import EmbeddedPostgres
from apex_pipeline.postgres import migrations

_APEX = Path(sys.executable).with_name("apex")
_MEASURED = (
    "import resource, subprocess, sys\n"
    "subprocess.run(sys.argv[1:], check=True)\n"
    "print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)\n"
)


def main() -> None:
    """Write the files, record them twice, print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=1_000_000)
    rows = parser.parse_args().rows
    with tempfile.TemporaryDirectory() as folder:
        postgres = EmbeddedPostgres(Path(folder) / "postgres")
        postgres.start()
        try:
            for suffix in ("jsonl", "csv"):
                _measure(postgres, _write(Path(folder) / f"rows.{suffix}", rows), rows)
        finally:
            postgres.stop()


def _measure(postgres: EmbeddedPostgres, file: Path, rows: int) -> None:
    name = file.suffix.removeprefix(".")
    postgres.create_database(name)
    url = postgres.url(name)
    migrations.apply(url)
    for label in ("new", "known"):
        begun = time.monotonic()
        ended = subprocess.run(
            [sys.executable, "-c", _MEASURED, _APEX, "record", "--file", file],
            env=os.environ | {"DATABASE_URL": url},
            capture_output=True,
            text=True,
            check=False,
        )
        if ended.returncode:
            sys.exit(ended.stderr)
        seconds = time.monotonic() - begun
        counts, peak = ended.stdout.splitlines()
        unit = 1024 if sys.platform == "linux" else 1024 * 1024
        print(
            f"{name}, {label}: {counts} {seconds:.0f} s, {rows / seconds:.0f} rows/s, "
            f"peak {int(peak) / unit:.0f} MB resident",
            flush=True,
        )
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute("TRUNCATE campaign_metrics")


def _write(file: Path, rows: int) -> Path:
    with file.open("w") as out:
        for number in range(rows):
            row = {
                "campaignId": str(UUID(int=number % 50)),
                "runId": str(UUID(int=number)),
                "phase": "2-3",
                "agentsTotal": 20,
                "agentsSuccessful": number % 21,
                "assetsGenerated": number % 40,
                "tokensIn": 150_000 + number % 1000,
                "tokensOut": 30_000,
                "costUSD": 0.9 + number % 100_000 / 100_000,
                "latencyP95Ms": 51_200,
                "latencyAvgMs": 42_000,
                "createdAt": f"2026-10-{1 + number % 28:02d}T13:00:00.25Z",
            }
            if file.suffix == ".jsonl":
                out.write(json.dumps(row) + "\n")
                continue
            if not number:
                out.write(",".join(row) + "\n")
            out.write(",".join(str(value) for value in row.values()) + "\n")
    return file


if __name__ == "__main__":
    main()
