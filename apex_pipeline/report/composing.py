"""Measure the chapters of the report, and put them in order."""

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from apex_pipeline import __version__
from apex_pipeline.monitoring.doctor import check_results as doctor
from apex_pipeline.monitoring.doctor.checklist import look as look_as_doctor
from apex_pipeline.monitoring.doctor.surroundings import Surroundings
from apex_pipeline.report import (
    acceptance,
    deliverables,
    development,
    infrastructure,
    known_issues,
    owner_targets,
    screenshots,
    security_checklist as security,
    sync_history,
)
from apex_pipeline.report.document import (
    Block,
    Lines,
    LineState,
    Report,
    ReportLine,
    Section,
    SignOff,
    mapped,
    presentable,
)
from apex_pipeline.report.measured_lines import gathered, once
from apex_pipeline.report.report_subject import Readers, Subject, read_subject
from apex_pipeline.report.repository import read_repository
from apex_pipeline.report.test_outcome import DEFAULT_NAME

_TITLE = "Completion report"
_ROLES = ("Delivered by", "Reviewed by", "Accepted by")
_ON_BENCHMARKS = (
    "The owner's targets, measured for this report on the machine that wrote it, under "
    "the load at that time."
)
# A report is not waited for as the doctor is; a busy machine loads Dagster slowly.
_DOCTOR_SECONDS = 30.0
_ON_SAMPLES = "The newest records in Dataverse, read for this report."
_SECURITY = "security"
_ON_SCREENSHOTS = "Taken for this report with headless Chromium."


@dataclass(frozen=True, slots=True)
class ReportOptions:
    """Options of a report.

    Attributes:
        test_results: File that pytest wrote; None for the one in the state folder.
        screenshots: Whether to open the pages in a browser.
    """

    test_results: Path | None = None
    screenshots: bool = True


def compose(
    environment: Mapping[str, str], readers: Readers, options: ReportOptions
) -> Report:
    """Measure everything, and compose the report.

    Raises:
        ConfigError: Neither Postgres nor Dataverse is configured.
    """
    subject = read_subject(environment)
    now = readers.now()
    seen = once(lambda: screenshots.look(subject, wanted=options.screenshots))
    # Timings first, so our other measurements do not disturb them.
    readers.tell("Measuring the targets …")
    measured = tuple(owner_targets.targets(subject, lambda: seen().paints, now))
    readers.tell("Running the doctor's checks …")
    lines = look_as_doctor(
        subject.environment,
        Surroundings(readers.dagster, now=readers.now, seconds=_DOCTOR_SECONDS),
    )
    readers.tell("Reading the other chapters …")
    chapters = _Chapters(subject, readers, options, lines)
    sections = (
        chapters.acceptance(),
        Section("benchmarks", "Benchmarks", (Lines(measured),), _ON_BENCHMARKS),
        chapters.deliverables(),
        chapters.infrastructure(),
        chapters.variables(),
        chapters.sync(),
        chapters.samples(),
        chapters.tests(),
        chapters.security(),
        Section("screenshots", "Screenshots", seen().blocks, _ON_SCREENSHOTS),
        chapters.commits(),
        chapters.issues(),
        Section("sign-off", "Sign-off", (SignOff(_ROLES),)),
    )
    return _made_safe(Report(_TITLE, now, _introduced(subject), sections), subject)


class _Chapters:
    """The chapters that are read, not timed."""

    def __init__(
        self,
        subject: Subject,
        readers: Readers,
        options: ReportOptions,
        lines: Sequence[doctor.CheckLine],
    ) -> None:
        self._subject = subject
        self._commands = readers.commands
        self._doctor = lines
        self._now = readers.now()
        self._results = options.test_results or subject.state / DEFAULT_NAME
        self._dagster = once(lambda: readers.orchestration(subject.environment))
        self._repository = once(partial(read_repository, development.COMMITS))

    def acceptance(self) -> Section:
        delivery = tuple(acceptance.delivery(self._subject, self._now))
        checklist = tuple(acceptance.as_line(line) for line in self._doctor)
        blocks = (
            Lines(delivery, "Delivery"),
            Lines(checklist, "Checklist of `apex doctor`"),
        )
        return Section("acceptance", "Acceptance", blocks)

    def deliverables(self) -> Section:
        subject = self._subject
        blocks = (
            *gathered(
                "Dagster's definitions",
                lambda: deliverables.in_dagster(self._dagster()),
            ),
            *gathered(
                "migrations of Postgres", lambda: deliverables.in_postgres(subject)
            ),
            *gathered(
                "migrations in Dagster's storage",
                lambda: deliverables.in_alerts_postgres(subject),
            ),
            *gathered(
                "routes of the panel",
                lambda: deliverables.in_the_panel(subject.panel()),
            ),
            *deliverables.on_the_command_line(self._commands),
        )
        return Section("deliverables", "Deliverables", blocks)

    def infrastructure(self) -> Section:
        subject = self._subject
        blocks = (
            *gathered(
                "Postgres and its tables", lambda: infrastructure.postgres(subject)
            ),
            *gathered(
                "Dataverse environment", lambda: infrastructure.dataverse(subject)
            ),
            *infrastructure.machine(subject),
            *gathered(
                "Dagster instance", lambda: infrastructure.dagster(self._dagster())
            ),
            *gathered("packages", infrastructure.packages),
        )
        return Section("infrastructure", "Infrastructure", blocks)

    def variables(self) -> Section:
        given, whole = self._subject.given, self._subject.environment
        blocks = tuple(infrastructure.variables(given, whole))
        return Section("environment", "Environment variables", blocks)

    def sync(self) -> Section:
        subject, now = self._subject, self._now
        blocks = (
            *gathered(
                "runs of the sync", lambda: sync_history.statistics(subject, now)
            ),
            *gathered(
                "runs in Dagster", lambda: deliverables.run_history(self._dagster())
            ),
        )
        return Section("sync", "Sync statistics", blocks)

    def samples(self) -> Section:
        blocks = gathered("newest records", lambda: sync_history.samples(self._subject))
        return Section("records", "Sample records", blocks, _ON_SAMPLES)

    def tests(self) -> Section:
        blocks = gathered(
            "tests", lambda: development.tests(self._results, self._repository)
        )
        return Section("tests", "Test results", blocks)

    def security(self) -> Section:
        by_name = {line.name: line for line in self._doctor}
        lines = tuple(security.checklist(self._subject, by_name))
        return Section(_SECURITY, "Security", (Lines(lines),))

    def commits(self) -> Section:
        blocks = gathered("commits", lambda: development.commits(self._repository()))
        return Section("commits", "Commits", blocks)

    def issues(self) -> Section:
        subject, now = self._subject, self._now
        blocks = (
            *gathered("incident table", lambda: known_issues.incidents(subject, now)),
            *gathered("causes in quarantine", lambda: known_issues.quarantine(subject)),
        )
        return Section("issues", "Known issues", blocks)


def _introduced(subject: Subject) -> str:
    """The subject of the report in one line."""
    settings = subject.configuration.dataverse
    place = settings.resource if settings else "no Dataverse environment"
    return f"apex_pipeline {__version__}, delivering to {place}"


def _made_safe(report: Report, subject: Subject) -> Report:
    """Remove secrets and control characters, and add a line about it."""
    hidden = 0

    def safe(text: str) -> str:
        nonlocal hidden
        shown = subject.secrets.hide(text)
        hidden += shown != text
        return presentable(shown)

    made: Report = mapped(report, safe)
    return dataclasses.replace(
        made,
        sections=tuple(
            dataclasses.replace(section, blocks=_with_line(section.blocks, hidden))
            if section.key == _SECURITY
            else section
            for section in made.sections
        ),
    )


def _with_line(blocks: tuple[Block, ...], hidden: int) -> tuple[Block, ...]:
    line = ReportLine(
        "this report",
        LineState.NOT_MET if hidden else LineState.MET,
        f"{hidden} of its texts contained a secret, which was replaced by dots"
        if hidden
        else "no secret was found",
        "contains no secret",
        "search of all text for the values of secret variables and for tokens",
    )
    return (*blocks, Lines((line,)))
