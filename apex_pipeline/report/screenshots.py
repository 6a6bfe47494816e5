"""The panel and Dagster's run history, as a person sees them."""

from dataclasses import dataclass
from urllib.parse import urlsplit

from apex_pipeline.errors import ApexError
from apex_pipeline.report.chromium import Chromium, Visit, Window, find_chromium, opened
from apex_pipeline.report.document import Block, Picture, unmeasured
from apex_pipeline.report.owner_targets import VISITS, Paints
from apex_pipeline.report.report_subject import Subject
from apex_pipeline.report.served_panel import ServedPanel
from apex_pipeline.settings import is_loopback, load_dagster_url

_PANEL, _RUNS = "The KPI panel", "The run history in Dagster"
# The first word of the tiles, and the head of a column.
_ON_THE_PANEL, _AMONG_RUNS = "Cost per campaign", "Launched by"
_PANEL_WINDOW = Window(height=1250)


@dataclass(frozen=True, slots=True)
class Seen:
    """What was seen in the browser.

    Attributes:
        paints: How the panel's page was painted.
        blocks: The pictures; in place of each that could not be taken, why.
    """

    paints: Paints
    blocks: tuple[Block, ...]


def look(subject: Subject, *, wanted: bool) -> Seen:
    """Open both pages, if there is a browser and they are served.

    Args:
        subject: Where they should be.
        wanted: Whether to look at all.
    """
    if not wanted:
        return _nothing("Not asked for.")
    try:
        with opened(find_chromium()) as chromium:
            paints, panel = _look_at_panel(chromium, subject)
            return Seen(paints, (panel, _look_at_runs(chromium, subject)))
    except ApexError as error:
        return _nothing(str(error))


def _nothing(reason: str) -> Seen:
    blocks = (unmeasured(_PANEL, reason), unmeasured(_RUNS, reason))
    return Seen(Paints(reason=reason), blocks)


def _look_at_panel(chromium: Chromium, subject: Subject) -> tuple[Paints, Block]:
    try:
        panel = subject.panel()
        # A page that nobody serves would be waited for in vain.
        panel.text("/healthz")
        visits = tuple(_visit(chromium, panel) for _ in range(VISITS))
    except ApexError as error:
        return Paints(reason=str(error)), unmeasured(_PANEL, str(error))
    return Paints(visits), Picture(_PANEL, visits[-1].png)


def _visit(chromium: Chromium, panel: ServedPanel) -> Visit:
    return chromium.visit(
        panel.url,
        expects=_ON_THE_PANEL,
        headers=panel.authorization,
        window=_PANEL_WINDOW,
    )


def _look_at_runs(chromium: Chromium, subject: Subject) -> Block:
    try:
        page = _runs_page(subject)
        visit = chromium.visit(
            page, expects=_AMONG_RUNS, headers=_authorization(subject, page)
        )
    except ApexError as error:
        return unmeasured(_RUNS, str(error))
    return Picture(_RUNS, visit.png)


def _authorization(subject: Subject, page: str) -> dict[str, str]:
    """What opens a Dagster UI of this machine; the token goes nowhere else."""
    is_ours = is_loopback(urlsplit(page).hostname or "")
    return subject.panel().authorization if is_ours else {}


def _runs_page(subject: Subject) -> str:
    url = load_dagster_url(subject.environment)
    if url is None:
        raise ApexError("APEX_DAGSTER_URL does not say where the Dagster UI is.")
    return f"{url}/runs"
