"""The delivery benchmarks: which contender delivers how much to what, as tables."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

from benchmarks.delivery import (
    PROFILES,
    TITLES,
    Bench,
    Result,
    available,
    deliver,
    middle,
    spread,
)
from benchmarks.modelled_service import Speed

Tell = Callable[[str], None]

_FIRST = "90 ms + 10 ms a row, hint 10"
_TEN_SLOTS = 917
"""Rows a second that ten slots allow there, at 100 rows a request."""

_BIG_SLOTS = 10 / (0.09 / 1000 + 0.01)
_WINDOW_SECONDS = 20.0
_WINDOWS = 5
_ROWS_A_USER = 50_000

# Rows for each: the fast ones for ten seconds or so, the others for four.
_COUNTS = {
    "ours": 10_000,
    "ours-again": 10_000,
    "sdk": 400,
    "sdk-chunks": 400,
    "sdk-async": 10_000,
    "dynamics-web-api": 10_000,
    "dlt": 400,
    "drt": 400,
    "flow": 40,
    "flow-50": 1600,
}
_ROWS = {
    "25 ms a row, hint 5": 1200,
    "800 ms + 1 ms a row, hint 10": 20_000,
    "1.5 s a row, hint 4": 16,
    "no latency, hint 10": 20_000,
}
_FASTEST = ("ours", "ours-again", "sdk-async", "dynamics-web-api")


@dataclass(frozen=True, slots=True)
class Effort:
    """How much to measure.

    Attributes:
        runs: Deliveries of each kind; the tables show the median.
        scale: Factor on the numbers of rows.
        rivals: Whether every table has all contenders, or all but the first one only
            ours.
        table_rows: Sizes of `campaign_metrics`.
    """

    runs: int
    scale: float
    rivals: bool
    table_rows: tuple[int, ...]


STANDARD = Effort(5, 1.0, rivals=True, table_rows=(10_000, 1_000_000, 10_000_000))
QUICK = Effort(1, 0.02, rivals=False, table_rows=(10_000,))


def speed_table(
    bench: Bench, effort: Effort, tell: Tell
) -> tuple[list[str], dict[str, float]]:
    """Every contender on the first profile; also the rates, for the picture."""
    lines = [_HEAD]
    rates = {}
    ours = 0.0
    for name in _present(bench):
        rows = max(int(_COUNTS[name] * effort.scale), 20)
        found = [
            deliver(bench, name, PROFILES[_FIRST], rows) for _ in range(effort.runs)
        ]
        rates[name] = middle(found).rate
        ours = ours or rates[name]
        line = _row(name, found, ours)
        tell(line)
        lines.append(line)
    return lines, rates


def profile_table(bench: Bench, effort: Effort, tell: Tell) -> list[str]:
    """The fastest contenders on services of other speeds."""
    names = [n for n in _FASTEST if available(bench, n)] if effort.rivals else ["ours"]
    lines = [
        "| service | " + " | ".join(TITLES[name].strip("… ") for name in names) + " |",
        "|---|" + "---|" * len(names),
    ]
    for profile, rows in _ROWS.items():
        runs = 1 if rows < 100 else min(effort.runs, 3)
        count = max(int(rows * effort.scale), 8)
        cells = []
        for name in names:
            found = [
                deliver(bench, name, PROFILES[profile], count) for _ in range(runs)
            ]
            cells.append(_cell(found, count))
        line = f"| {profile}; {count:,} rows | " + " | ".join(cells) + " |"
        tell(line)
        lines.append(line)
    return lines


def _cell(results: Sequence[Result], rows: int) -> str:
    one = middle(results)
    text = spread(results) if one.rate >= 10 else f"{one.rate:.2f}"
    return text if one.landed == rows else f"{text}; {rows - one.landed} lost"


def size_table(
    bench: Bench, effort: Effort, tell: Tell
) -> tuple[list[str], dict[str, float]]:
    """Few rows and many, with and without latency; also the figures of our aims."""
    figures = {}
    names = ("ours", "sdk-async") if effort.rivals else ("ours",)
    lines = [_SIZE_HEAD]
    for profile in (_FIRST, "no latency, hint 10"):
        for rows in (1000, 10_000, 100_000) if effort.rivals else (10_000,):
            count = int(rows * effort.scale)
            for name in names:
                found = deliver(bench, name, PROFILES[profile], count)
                line = (
                    f"| {profile} | {count:,} | {TITLES[name].strip('… ')} | "
                    f"{found.rate:,.0f} | {found.requests} | {_cpu(found)} | "
                    f"{found.peak_mib:.0f} MiB |"
                )
                tell(line)
                lines.append(line)
                # The largest number of rows is the last.
                kind = f"{name}_{'latency' if profile == _FIRST else 'fast'}"
                figures[f"{kind}_rate"] = found.rate
                figures[f"{kind}_cpu"] = _cpu_seconds(found)
    return lines, figures


def fault_table(bench: Bench, effort: Effort, tell: Tell) -> list[str]:
    """What remains of the rows when the service fails now and then."""
    writes = "UpsertMultiple|batch|apex_campaignmetricses"
    a_429 = {
        "kind": "status",
        "status": 429,
        "code": "0x80072322",
        "retry_after": "1",
        "count": None,
        "probability": 0.25,
        "path": writes,
    }
    lost = {"kind": "drop_after", "count": None, "probability": 0.1, "path": writes}
    kinds = {
        "a 429 on a quarter of the requests": {"faults": [a_429]},
        "a tenth of the answers lost": {"faults": [lost]},
        "one bad row in a thousand": {"bad_every": 1000},
    }
    fast = replace(PROFILES[_FIRST], request=0.02, row=0.001, single=0.02)
    lines = [_FAULT_HEAD]
    for kind, options in kinds.items():
        shown = [name for name in _present(bench) if name != "ours-again"]
        for name in shown if effort.rivals else ["ours"]:
            # Sixty requests of a hundred rows, so that faults hit all of them.
            rows = 6000 if name != "flow" else 1000
            rows = max(int(rows * effort.scale), 100)
            found = deliver(bench, name, fast, rows, **options)  # type: ignore[arg-type]  # by keyword
            line = _fault_row(kind, name, found)
            tell(line)
            lines.append(line)
    return lines


def limit_table(
    bench: Bench, effort: Effort, tell: Tell
) -> tuple[list[str], dict[str, float]]:
    """Enforced limits, the window scaled to 20 s, with one, two and four users."""
    figures = {}
    # Four slots may be busy all the time, ten at the start: as documented, 1 200 s in 300 s.
    speed = Speed(0.05, 0.02, 0.07, 10, _WINDOW_SECONDS, 400, 4 * _WINDOW_SECONDS)
    # The budget is full at the start, and refills from the second window on.
    per_window = speed.execution_seconds / (speed.request + 100 * speed.row) * 100
    lines = [_LIMIT_HEAD]
    shown = (("ours", 1), ("ours", 2), ("ours", 4), ("sdk-async", 1))
    for name, users in shown if effort.rivals else shown[1:2]:
        rows = int(per_window * _WINDOWS * users * effort.scale) // 100 * 100
        found = deliver(bench, name, speed, rows, users=users)
        allowed = per_window / _WINDOW_SECONDS * users
        line = (
            f"| {TITLES[name]} | {users} | {found.landed:,} of {rows:,} | "
            f"{found.rate:,.0f} | {allowed:,.0f} | {found.throttled} | {found.ignored} | "
            f"{found.in_flight} | {_ended(found)} |"
        )
        tell(line)
        lines.append(line)
        figures[f"{name}_{users}_rate"] = found.rate
        figures[f"{name}_{users}_share"] = 100 * found.rate / allowed
        figures[f"{name}_{users}_throttled"] = found.throttled
    return lines, figures


def user_table(
    bench: Bench, effort: Effort, tell: Tell
) -> tuple[list[str], dict[str, float]]:
    """One, two and four users of a service without limits."""
    lines = [_USERS_HEAD]
    figures = {}
    alone = 0.0
    for users in (1, 2, 4) if effort.rivals else (1, 2):
        rows = int(_ROWS_A_USER * users * effort.scale)
        found = deliver(bench, "ours-again", PROFILES[_FIRST], rows, users=users)
        alone = alone or found.rate
        line = (
            f"| {users} | {found.landed:,} of {rows:,} | {found.rate:,.0f} | "
            f"{found.rate / alone:.2f} | {found.in_flight} | {found.requests} | "
            f"{_cpu(found)} | {_ended(found)} |"
        )
        tell(line)
        lines.append(line)
        figures[f"times_{users}"] = found.rate / alone
    return lines, figures


_HEAD = (
    "| | rows | rows/s: median (lowest to highest) | of ours | requests | peak in flight | "
    "CPU s per 100 000 rows | peak memory | landed | twice |\n"
    "|---|---|---|---|---|---|---|---|---|---|"
)
_SIZE_HEAD = (
    "| service | rows | | rows/s | requests | CPU s per 100 000 rows | peak memory |\n"
    "|---|---|---|---|---|---|---|"
)
_USERS_HEAD = (
    "| users | landed | rows/s | times one user | peak in flight | requests | "
    "CPU s per 100 000 rows | ended with |\n|---|---|---|---|---|---|---|---|"
)
_FAULT_HEAD = (
    "| fault | | rows/s | landed | lost | twice | requests | 429s | Retry-After ignored | "
    "ended with |\n|---|---|---|---|---|---|---|---|---|---|"
)
_LIMIT_HEAD = (
    "| | users | landed | rows/s | what the limits sustain | 429s | Retry-After ignored | "
    "peak in flight | ended with |\n|---|---|---|---|---|---|---|---|---|"
)


def _present(bench: Bench) -> Iterator[str]:
    return (name for name in TITLES if available(bench, name))


def _row(name: str, found: Sequence[Result], ours: float) -> str:
    one = middle(found)
    return (
        f"| {TITLES[name]} | {one.rows:,} | {spread(found)} | {one.rate / ours:.2f} | "
        f"{one.requests:,} | {one.in_flight} | {_cpu(one)} | {one.peak_mib:.0f} MiB | "
        f"{one.landed:,} | {one.twice} |"
    )


def _cpu(found: Result) -> str:
    return f"{_cpu_seconds(found):.1f}" if found.landed else "n/a"


def _cpu_seconds(found: Result) -> float:
    return found.cpu / found.landed * 100_000 if found.landed else 0.0


def _fault_row(kind: str, name: str, found: Result) -> str:
    is_refused = kind.startswith("one bad") and found.landed == found.rows - _bad(found)
    lost = 0 if is_refused else found.rows - found.landed
    return (
        f"| {kind} | {TITLES[name]} | {found.rate:,.0f} | {found.landed:,} of "
        f"{found.rows:,} | {lost:,} | {found.twice} | {found.requests:,} | "
        f"{found.throttled} | {found.ignored} | {_ended(found)} |"
    )


def _bad(found: Result) -> int:
    return sum(number % 1000 == 500 for number in range(found.rows))


def _ended(found: Result) -> str:
    return found.stopped.replace("|", "/")[:80] or "success"


def targets(rates: dict[str, float]) -> list[str]:
    """Our aims beside what was measured."""
    ours, rival = rates.get("ours-again", 0.0), rates.get("sdk-async", 0.0)
    ratio = ours / rival if rival else 0.0
    allowed = (
        f"they allow {_TEN_SLOTS} with 100 rows a request, {_BIG_SLOTS:,.0f} with 1 000"
    )
    return [
        "| aim, for a run that knows the pace | measured |",
        "|---|---|",
        f"| at least 960 rows/s at ten slots ({allowed}) | {ours:,.0f} |",
        f"| more than 1.05 times the ten-slot SDK | {ratio:.2f} |",
    ]
