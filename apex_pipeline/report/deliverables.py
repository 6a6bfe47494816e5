"""The deliverables, as Dagster, Postgres, the panel and the CLI describe them."""

from collections.abc import Iterable, Iterator, Mapping, Sequence

from apex_pipeline.errors import ApexError
from apex_pipeline.postgres import migrations
from apex_pipeline.postgres.database import Database
from apex_pipeline.report.dagster_facts import (
    AssetCheckState,
    AssetState,
    AutomationState,
    Orchestration,
)
from apex_pipeline.report.document import (
    Block,
    Lines,
    LineState,
    ReportLine,
    ReportTable,
)
from apex_pipeline.report.measured_lines import instant, seconds
from apex_pipeline.report.report_subject import Subject
from apex_pipeline.report.schema_reading import read_migrations
from apex_pipeline.report.served_panel import ServedPanel

_NO_INSTANCE = "no Dagster instance is configured here: set DAGSTER_HOME"


def in_dagster(found: Orchestration) -> Iterator[Block]:
    """Assets with their checks, jobs, schedules and sensors."""
    is_known = found.instance is not None
    yield Lines(
        tuple(
            _asset(
                each,
                [c for c in found.checks if c.asset == each.name],
                is_known=is_known,
            )
            for each in found.assets
            if each.is_made
        ),
        "Assets",
        "is",
    )
    yield Lines(
        tuple(_check(each, is_known=is_known) for each in found.checks),
        "Asset checks",
    )
    yield Lines(
        tuple(_automation(each, is_known=is_known) for each in found.automations),
        "Schedules and sensors",
    )
    yield ReportTable(
        ("job", "does", "runs", "last run", "started (UTC)"),
        tuple(
            (
                each.name,
                each.description,
                str(each.runs) if is_known else "?",
                each.status or ("never" if is_known else "?"),
                instant(each.began_at),
            )
            for each in found.jobs
        ),
        "Jobs",
    )


def in_postgres(subject: Subject) -> Iterator[Block]:
    """The migrations, and when each was applied.

    Raises:
        DatabaseError: Postgres does not answer, or no migration was ever applied.
    """
    with subject.open_database() as database:
        yield _migrations(
            database, migrations.MigrationFolder.METRICS, "Migrations of Postgres"
        )


def in_alerts_postgres(subject: Subject) -> Iterator[Block]:
    """The migrations of the alert tables, which are in Dagster's storage.

    Raises:
        ApexError: No storage for alerts is configured.
        DatabaseError: That Postgres does not answer, or no migration was ever applied.
    """
    with subject.open_alerts_database() as database:
        yield _migrations(
            database,
            migrations.MigrationFolder.ALERTS,
            "Migrations in Dagster's storage",
        )


def _migrations(
    database: Database, part: migrations.MigrationFolder, title: str
) -> Lines:
    contents = migrations.contents(part)
    applied = dict(read_migrations(database, list(contents)))
    return Lines(
        tuple(
            ReportLine(
                name,
                LineState.MET if name in applied else LineState.NOT_MET,
                f"applied {instant(applied[name])} UTC"
                if name in applied
                else "not applied",
                ", ".join(made) or "an index",
            )
            for name, made in contents.items()
        ),
        title,
        "creates",
    )


def on_the_command_line(commands: Mapping[str, str]) -> Iterator[Block]:
    rows = tuple((f"apex {name}", text) for name, text in commands.items())
    yield ReportTable(("command", "does"), rows, "Commands")


def in_the_panel(panel: ServedPanel) -> Iterator[Block]:
    """The routes that the running panel describes.

    Raises:
        ApexError: The panel does not answer, or describes no routes.
    """
    document = panel.document("/openapi.json")
    yield ReportTable(
        ("route", "answers"), tuple(_routes(document)), f"Panel, at {panel.url}"
    )


def _routes(document: Mapping[str, object]) -> Iterator[tuple[str, str]]:
    paths = document.get("paths")
    if not isinstance(paths, dict):
        raise ApexError("The panel describes no routes.")
    for path, methods in paths.items():
        for method, operation in methods.items():
            yield f"{method.upper()} {path}", str(operation.get("summary", ""))


def _asset(
    asset: AssetState, checks: Sequence[AssetCheckState], *, is_known: bool
) -> ReportLine:
    target = asset.description.split(". ")[0].rstrip(".:")
    if asset.materialized_at is None:
        why = "never materialized here" if is_known else _NO_INSTANCE
        return ReportLine(asset.name, LineState.NOT_MEASURED, why, target)
    failing = [check for check in checks if check.passed is False]
    state = LineState.MET
    if failing:
        only_warn = all(check.is_warning for check in failing)
        state = LineState.WARNING if only_warn else LineState.NOT_MET
    seen = f"materialized {instant(asset.materialized_at)} UTC"
    return ReportLine(asset.name, state, f"{seen}{_tally(checks, failing)}", target)


def _tally(
    checks: Sequence[AssetCheckState], failing: Iterable[AssetCheckState]
) -> str:
    if not checks:
        return ""
    passed = sum(check.passed is True for check in checks)
    names = ", ".join(check.name for check in failing)
    said = f"; {passed} of {len(checks)} checks pass"
    return f"{said}, not {names}" if names else said


def _check(check: AssetCheckState, *, is_known: bool) -> ReportLine:
    name = f"{check.asset}: {check.name}"
    if check.passed is None:
        why = "never evaluated here" if is_known else _NO_INSTANCE
        return ReportLine(name, LineState.NOT_MEASURED, why, check.description)
    if check.passed:
        state, word = LineState.MET, "passed"
    elif check.is_warning:
        state, word = LineState.WARNING, "warns"
    else:
        state, word = LineState.NOT_MET, "failed"
    return ReportLine(
        name, state, f"{word} {instant(check.evaluated_at)} UTC", check.description
    )


def _automation(each: AutomationState, *, is_known: bool) -> ReportLine:
    name, target = f"{each.kind} {each.name}", f"on; {each.when}"
    if each.is_on is None:
        why = "no daemon has seen it" if is_known else _NO_INSTANCE
        return ReportLine(name, LineState.NOT_MEASURED, why, target)
    if not each.is_on:
        return ReportLine(name, LineState.NOT_MET, "switched off", target)
    if each.error is not None:
        return ReportLine(
            name, LineState.NOT_MET, f"its last tick failed: {each.error}", target
        )
    ticked = f"last tick {instant(each.ticked_at)} UTC" if each.ticked_at else ""
    return ReportLine(name, LineState.MET, f"on, {ticked or 'not due yet'}", target)


def run_history(found: Orchestration) -> Iterator[Block]:
    """The last runs.

    Raises:
        ApexError: No instance is configured.
    """
    if found.instance is None:
        raise ApexError(f"{_NO_INSTANCE}.")
    yield ReportTable(
        ("run", "job", "status", "created (UTC)", "took"),
        tuple(
            (
                run.run_id[:8],
                run.job,
                run.status,
                instant(run.began_at),
                "" if run.seconds is None else seconds(run.seconds),
            )
            for run in found.runs
        ),
        "The last runs in Dagster",
    )
