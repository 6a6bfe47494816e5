"""The pages of the report: which figures each shows, and where."""

from apex_pipeline.powerbi.model_tables import DATE, METRICS
from apex_pipeline.powerbi.report_layout import (
    GAP,
    MARGIN,
    WIDTH,
    Box,
    Page,
    Visual,
    VisualField,
    VisualType,
)

_LEFT = 820
_RIGHT = WIDTH - 2 * MARGIN - GAP - _LEFT
_SLICERS, _CARDS, _UPPER, _LOWER = 16, 84, 196, 456
_SLICER_HEIGHT, _CARD_HEIGHT, _HEIGHT = 56, 100, 248
_WHOLE = _LOWER + _HEIGHT - _UPPER


def _measure(name: str) -> VisualField:
    return VisualField(METRICS, name, is_measure=True)


def _column(name: str, table: str = METRICS) -> VisualField:
    return VisualField(table, name, is_measure=False)


_DAY, _MONTH = _column("Date", DATE), _column("Month", DATE)
_CAMPAIGN, _PHASE = _column("Campaign ID"), _column("Phase")
_RUN, _CREATED = _column("Run ID"), _column("Created At")
_DELIVERED = _column("Delivered At")


def _slicers() -> tuple[Visual, ...]:
    width = (_LEFT - GAP) // 2
    parts = (
        ("Days", _DAY, MARGIN, width, "Choose the range of days."),
        ("Phase", _PHASE, MARGIN + width + GAP, width, "Choose phases."),
        ("Campaign", _CAMPAIGN, MARGIN + _LEFT + GAP, _RIGHT, "Choose campaigns."),
    )
    return tuple(
        Visual(
            "slicer",
            title,
            said,
            Box(x, _SLICERS, wide, _SLICER_HEIGHT),
            {"Values": (field,)},
            phone_height=72 if title == "Days" else None,
        )
        for title, field, x, wide, said in parts
    )


def _cards(*figures: tuple[str, tuple[str, ...]]) -> tuple[Visual, ...]:
    """Cards side by side: a title, and the measures that it shows."""
    count = len(figures)
    width = (WIDTH - 2 * MARGIN - (count - 1) * GAP) // count
    return tuple(
        Visual(
            "cardVisual",
            title,
            f"{' and '.join(names)}.",
            Box(MARGIN + number * (width + GAP), _CARDS, width, _CARD_HEIGHT),
            {"Data": tuple(map(_measure, names))},
            phone_height=96,
        )
        for number, (title, names) in enumerate(figures)
    )


def _over_time(
    title: str,
    *names: str,
    y: int,
    kind: VisualType = "lineChart",
    box: Box | None = None,
) -> Visual:
    return Visual(
        kind,
        title,
        f"{' and '.join(names)} by day.",
        box or Box(MARGIN, y, _LEFT, _HEIGHT),
        {"Category": (_DAY,), "Y": tuple(map(_measure, names))},
        sort=(_DAY, False),
        phone_height=220,
    )


def _ranked(title: str, by: VisualField, name: str, y: int, height: int) -> Visual:
    return Visual(
        "clusteredBarChart",
        title,
        f"{name} by {by.name}, the largest first.",
        Box(MARGIN + _LEFT + GAP, y, _RIGHT, height),
        {"Category": (by,), "Y": (_measure(name),)},
        sort=(_measure(name), True),
        phone_height=260,
    )


def _table(
    title: str, said: str, box: Box, fields: tuple[VisualField, ...], sort: VisualField
) -> Visual:
    return Visual(
        "tableEx",
        title,
        said,
        box,
        {"Values": fields},
        sort=(sort, True),
        phone_height=360,
    )


def _beside(y: int, height: int) -> Box:
    return Box(MARGIN + _LEFT + GAP, y, _RIGHT, height)


def _kpi(label: str, measure: str) -> tuple[str, tuple[str, ...]]:
    return label, (f"{measure} 30 Days", f"{measure} Change")


_OVERVIEW = Page(
    "Overview",
    (
        *_slicers(),
        *_cards(
            _kpi("Cost per campaign, 30 days", "Cost per Campaign"),
            _kpi("Median run p95, 30 days", "Median Run P95"),
            _kpi("Success rate, 30 days", "Success Rate"),
            _kpi("Assets per run, 30 days", "Assets per Run"),
            _kpi("Tokens, 30 days", "Tokens"),
        ),
        _over_time("Cost by day", "Total Cost", "Total Cost 7-Day Mean", y=_UPPER),
        _over_time("Runs by day", "Runs", "Runs 7-Day Mean", y=_LOWER),
        _ranked("Top campaigns by cost", _CAMPAIGN, "Total Cost", _UPPER, _HEIGHT),
        _ranked("Runs by phase", _PHASE, "Runs", _LOWER, _HEIGHT),
    ),
)

_COST = Page(
    "Cost and forecast",
    (
        *_slicers(),
        *_cards(
            _kpi("Cost, 30 days", "Total Cost"),
            ("Month to date", ("Cost Month to Date",)),
            ("Month-end projection", ("Month-End Projection",)),
            ("Cost per run", ("Cost per Run",)),
            ("Cost per asset", ("Cost per Asset",)),
        ),
        _over_time(
            "Cost and 7-day mean", "Total Cost", "Total Cost 7-Day Mean", y=_UPPER
        ),
        _over_time("Cost per run by day", "Cost per Run", y=_LOWER),
        _ranked("Cost by phase", _PHASE, "Total Cost", _UPPER, _HEIGHT),
        _table(
            "Cost by month",
            "Cost, runs and cost per run by month, the newest first.",
            _beside(_LOWER, _HEIGHT),
            (
                _MONTH,
                _measure("Total Cost"),
                _measure("Runs"),
                _measure("Cost per Run"),
            ),
            _MONTH,
        ),
    ),
)

_QUALITY = Page(
    "Quality",
    (
        *_slicers(),
        *_cards(
            ("Success rate", ("Success Rate",)),
            ("Mean latency", ("Mean Latency",)),
            ("Median run p95", ("Median Run P95",)),
            ("Worst run p95", ("Worst P95",)),
            ("Slow runs", ("Slow Runs", "Slow Run Share")),
        ),
        _over_time(
            "Success rate by day", "Success Rate", "Success Rate 7 Days", y=_UPPER
        ),
        _over_time("Latency by day", "Mean Latency", "Median Run P95", y=_LOWER),
        _ranked("Slow runs by campaign", _CAMPAIGN, "Slow Runs", _UPPER, _HEIGHT),
        _table(
            "Slowest runs",
            "Runs with their worst p95 and success rate, the slowest first.",
            _beside(_LOWER, _HEIGHT),
            (_RUN, _measure("Worst P95"), _measure("Success Rate")),
            _measure("Worst P95"),
        ),
    ),
)

_RUNS = Page(
    "Runs",
    (
        *_slicers(),
        *_cards(
            ("Runs", ("Runs",)),
            ("Agents", ("Agents", "Successful Agents")),
            ("Assets", ("Assets",)),
            ("Cost", ("Total Cost",)),
            ("Tokens", ("Prompt Tokens", "Completion Tokens")),
        ),
        _table(
            "All runs",
            "Every run with its campaign, phase and figures, the newest first.",
            Box(MARGIN, _UPPER, WIDTH - 2 * MARGIN, _WHOLE),
            (
                _CREATED,
                _CAMPAIGN,
                _RUN,
                _PHASE,
                _measure("Total Cost"),
                _measure("Success Rate"),
                _measure("Assets"),
                _measure("Worst P95"),
            ),
            _CREATED,
        ),
    ),
    drill_through=_CAMPAIGN,
)

_SYNC = Page(
    "Sync health",
    (
        *_slicers(),
        *_cards(
            ("Records delivered", ("Records Delivered",)),
            ("Median delay", ("Median Delay",)),
            ("Longest delay", ("Longest Delay",)),
            ("Last delivery", ("Last Delivery At",)),
            ("Last run", ("Last Run At",)),
        ),
        _over_time(
            "Records delivered by day",
            "Records Delivered",
            y=_UPPER,
            kind="clusteredColumnChart",
        ),
        _over_time("Median delay by day", "Median Delay", y=_LOWER),
        _table(
            "Longest delays",
            "Runs with their delivery and delay, the longest delay first.",
            _beside(_UPPER, _WHOLE),
            (_CREATED, _DELIVERED, _measure("Longest Delay")),
            _measure("Longest Delay"),
        ),
    ),
)

PAGES = (_OVERVIEW, _COST, _QUALITY, _RUNS, _SYNC)
"""The pages, in the order of their tabs."""
