"""Measure the pipeline, and write docs/benchmarks.md: `python -m benchmarks [NAME …]`."""

import argparse
import json
import os
import platform
import subprocess
import sys
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from apex_pipeline.analytics.charts import Bar, bars
from benchmarks import tables
from benchmarks.aims import aims
from benchmarks.delivery import TITLES, Bench, bench
from benchmarks.growth import growth_table
from benchmarks.tables import QUICK, STANDARD, Effort

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs" / "benchmarks.md"
PICTURE = ROOT / "docs" / "benchmarks-delivery.svg"
EARLIER = Path(__file__).with_name("other_figures.md")
KEPT = Path(__file__).with_name("measured.json")

Tell = Callable[[str], None]
Section = tuple[str, dict[str, float]]
"""Markdown, and the figures that stand beside our aims."""

_HEAD = """# Benchmarks

At the end of this page you know how fast the pipeline is beside other ways to deliver, and
how to measure it yourself.

```sh
pip install -e '.[local,dev]' -r benchmarks/requirements.txt
python -m benchmarks              # all; writes this page
python -m benchmarks speed limits # by name
python -m benchmarks --quick      # a trial; writes nothing
```

*Dagster's storage* and what follows it are measured by hand, by the commands named there.
"""

_MODEL = """The service is modelled; it is not Dataverse, and a real environment is slower or
faster. The model is this project's emulator in a process of its own, over HTTPS on the same
machine. It takes a fixed time for each request and a time for each row, sends
`x-ms-dop-hint`, and enforces the three service protection limits where a table says so. Every
figure is what the service saw: from the arrival of the first write to the end of the last
answer. Startup and the first token are left out for all. The SDK and DynamicsWebApi are given
ten slots and 100 rows a request by hand. Ours finds both out in its first run, and keeps them
for the next. Ours reads its rows from Postgres and marks them there; the others get theirs
from a file in memory, except the replaced flow, which also updates each row.
"""


def _section(title: str, note: str, lines: list[str]) -> str:
    return "\n".join([f"## {title}\n\n{note}", *lines])


def speed(bench: Bench, effort: Effort, tell: Tell) -> Section:
    """Every contender on the first profile."""
    lines, rates = tables.speed_table(bench, effort, tell)
    names = {name: TITLES[name].replace("**", "") for name in rates}
    if effort is STANDARD:
        shown = [Bar(names[name], rate) for name, rate in rates.items()]
        PICTURE.write_text(
            bars(
                "Delivery, rows per second",
                "90 ms a request and 10 ms a row, hint 10; median",
                shown,
            )
        )
    text = "\n".join(
        [
            "## Delivery\n\n90 ms a request and 10 ms a row, hint 10.\n",
            "![Rows per second of each way to deliver](benchmarks-delivery.svg)\n",
            *lines,
            "",
            *tables.targets(rates),
        ]
    )
    return text, rates


def profiles(bench: Bench, effort: Effort, tell: Tell) -> Section:
    """Other speeds of the service."""
    lines = tables.profile_table(bench, effort, tell)
    note = (
        "Rows per second. With 25 ms a row, five requests at once, as the hint says, can do "
        "5 / 0.025 = 200 rows/s, and ours comes to that. The SDK and DynamicsWebApi have ten "
        "slots, set by hand, which the model permits: it does not slow clients that exceed "
        "the hint, and a real environment may. Their twelve requests of 2.5 s take two "
        "rounds, which is 240 rows/s.\n"
    )
    return _section("Services of other speeds", note, lines), {}


def sizes(bench: Bench, effort: Effort, tell: Tell) -> Section:
    """Few rows and many, and what the client costs."""
    lines, figures = tables.size_table(bench, effort, tell)
    aim = "Aim: at most 4 CPU seconds for 100 000 rows.\n"
    return _section(
        "Few rows and many, and the cost of the client", aim, lines
    ), figures


def faults(bench: Bench, effort: Effort, tell: Tell) -> Section:
    """Delivery while the service fails."""
    lines = tables.fault_table(bench, effort, tell)
    note = (
        "20 ms a request and 1 ms a row. The first request of a delivery is spared. A row "
        "counts as lost if its contender ended without delivering it; ours would deliver it with the next run. A bad row that "
        "was put aside by itself is not lost.\n"
    )
    return _section("Faults", note, lines), {}


def limits(bench: Bench, effort: Effort, tell: Tell) -> Section:
    """Service protection limits."""
    lines, figures = tables.limit_table(bench, effort, tell)
    note = (
        "The limits of each user, with the window scaled from 300 s to 20 s: 400 requests "
        "and 80 s of execution in 20 s, 52 at once. Five windows of work. The budget is "
        "full at the start, so the rate can exceed what the limits sustain. Our window and "
        "request timeout are scaled likewise: a request of 30 s beside 300 s is one of 2 s "
        "beside 20 s.\n"
    )
    return _section("Enforced limits, several application users", note, lines), figures


def users(bench: Bench, effort: Effort, tell: Tell) -> Section:
    """Several application users where nothing but the slots limits them."""
    lines, figures = tables.user_table(bench, effort, tell)
    note = (
        "90 ms a request and 10 ms a row, ten slots for each user, 50 000 rows for each, in a "
        "run that knows the pace. Processor time keeps two users from being exactly twice as "
        "fast: our client reads, checks and writes the first request of each slot one after "
        "the other, and on two cores the modelled service needs the same time again to read "
        "them. The more rows, the less that counts.\n"
    )
    return _section("Several application users without limits", note, lines), figures


def growth(bench: Bench, effort: Effort, tell: Tell) -> Section:
    """The daily work beside a small table and a large one."""
    lines, figures = growth_table(bench.database, effort.table_rows)
    tell("\n".join(lines))
    note = (
        "What is done every five minutes, in tables of several sizes over two years. A "
        "thousand rows are pending. Reading, marking and looking follow what is pending, and "
        "the refresh follows the rows of today.\n"
    )
    return _section("Large tables", note, lines), figures


BENCHMARKS: dict[str, Callable[[Bench, Effort, Tell], Section]] = {
    "speed": speed,
    "profiles": profiles,
    "sizes": sizes,
    "limits": limits,
    "users": users,
    "faults": faults,
    "growth": growth,
}


SCRIPTS = (
    *(
        "analysis",
        "arrival",
        "audit",
        "dagster_storage",
        "emulator_upserts",
        "forecast",
    ),
    *("idle", "million_rows", "page_paint", "panel", "reconcile", "record"),
    *("startup", "tenants"),
)
"""Programs of their own, which print their figures; run by name only."""


def main() -> None:
    """Measure what was named, or all; write the page unless it is only a trial."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument(
        "names",
        nargs="*",
        metavar="NAME",
        help=f"{', '.join(BENCHMARKS)}; and, left out unless named: {', '.join(SCRIPTS)}",
    )
    parser.add_argument(
        "--quick", action="store_true", help="small and unreliable; write nothing"
    )
    given = parser.parse_args()
    if unknown := {*given.names} - {*BENCHMARKS, *SCRIPTS}:
        parser.error(f"unknown: {', '.join(sorted(unknown))}")
    for name in given.names:
        if name in SCRIPTS:
            subprocess.run([sys.executable, "-m", f"benchmarks.{name}"], check=True)
    names = [each for each in given.names if each in BENCHMARKS]
    if given.names and not names:
        return
    effort = QUICK if given.quick else STANDARD
    kept = json.loads(KEPT.read_text()) if KEPT.is_file() else {}
    with bench() as shared:
        for name in names or BENCHMARKS:
            print(f"\n{name}:", flush=True)
            began = time.monotonic()
            text, figures = BENCHMARKS[name](
                shared, effort, lambda line: print(line, flush=True)
            )
            kept[name] = {
                "text": text,
                "figures": figures,
                "machine": _machine(),
                "seconds": round(time.monotonic() - began),
            }
            made = page(kept)
            if not given.quick:
                KEPT.write_text(json.dumps(kept, indent=1))
                PAGE.write_text(made)


def page(kept: dict[str, dict[str, Any]]) -> str:
    """The documentation's page: what was measured, our aims beside it, and the rest."""
    parts = [_HEAD, _MODEL]
    for name in BENCHMARKS:
        if name in kept:
            parts += [kept[name]["text"], f"\n*Measured on {kept[name]['machine']}.*\n"]
    return "\n".join([*parts, aims(kept), EARLIER.read_text()])


def _machine() -> str:
    load = os.getloadavg()[0]
    return (
        f"{datetime.now(UTC):%Y-%m-%d} with {os.cpu_count()} cores ({platform.machine()}), "
        f"{platform.system()}, Python {platform.python_version()}, load average {load:.1f} "
        "at the end"
    )


if __name__ == "__main__":
    main()
