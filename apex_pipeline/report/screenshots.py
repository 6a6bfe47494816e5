"""Screenshots of the panel and of Dagster's run history."""

from dataclasses import dataclass
from urllib.parse import urlsplit

from apex_pipeline.errors import ApexError
from apex_pipeline.report.chromium import (
    BrowserWindow,
    Chromium,
    Visit,
    find_chromium,
    opened,
)
from apex_pipeline.report.document import Block, Picture, unmeasured
from apex_pipeline.report.owner_targets import VISITS, Paints
from apex_pipeline.report.report_subject import Subject
from apex_pipeline.report.served_panel import ServedPanel
from apex_pipeline.settings import is_loopback, load_dagster_url

_PANEL, _RUNS = "The KPI panel", "The run history in Dagster"
# The first word of the tiles, and the head of a column.
_ON_THE_PANEL, _AMONG_RUNS = "Cost per campaign", "Launched by"
_PANEL_WINDOW = BrowserWindow(height=1250)


@dataclass(frozen=True, slots=True)
class Seen:
    """The results from the browser.

    Attributes:
        paints: Visits of the panel's page.
        blocks: The screenshots, or for each the reason why there is none.
    """

    paints: Paints
    blocks: tuple[Block, ...]


def look(subject: Subject, *, wanted: bool) -> Seen:
    """Open both pages, if there is a browser and they are served.

    Args:
        subject: The configuration with the addresses of the pages.
        wanted: Whether screenshots are wanted.
    """
    if not wanted:
        return _nothing("Not requested.")
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
        # Do not wait for a page that is not served.
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
        raise ApexError("APEX_DAGSTER_URL is not set to the address of the Dagster UI.")
    return f"{url}/runs"
