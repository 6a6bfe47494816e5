"""The commits of the code, and the results of its tests."""

from collections.abc import Callable, Iterator
from pathlib import Path

from apex_pipeline.errors import ApexError
from apex_pipeline.report.document import (
    Block,
    Lines,
    LineState,
    Note,
    ReportLine,
    ReportTable,
)
from apex_pipeline.report.measured_lines import instant, seconds
from apex_pipeline.report.repository import Repository
from apex_pipeline.report.test_outcome import SuiteOutcome, read_outcome

COMMITS = 20


def commits(found: Repository) -> Iterator[Block]:
    changed = f"{found.changed} files differ" if found.changed else "no file differs"
    yield Note(
        f"Branch {found.branch}, {found.count:,} commits; {changed} from the last one."
    )
    yield ReportTable(
        ("commit", "committed (UTC)", "subject"),
        tuple(
            (each.short_hash, instant(each.committed_at), each.subject)
            for each in found.newest
        ),
        f"The last {len(found.newest)}",
    )


def tests(path: Path, repository: Callable[[], Repository]) -> Iterator[Block]:
    """The results of the tests, from the file that pytest wrote.

    Args:
        path: That file.
        repository: Reads the checkout, to compare its age; may fail.

    Raises:
        ApexError: The file does not exist or cannot be read.
    """
    outcome = read_outcome(path)
    yield Lines((_line(outcome, path, repository),))
    if outcome.failures:
        rows = tuple((name,) for name in outcome.failures)
        yield ReportTable(("failed test",), rows, "Failures")
    yield ReportTable(
        ("module", "tests", "failed", "skipped", "took"),
        tuple(
            (
                each.name,
                str(each.tests),
                str(each.failed),
                str(each.skipped),
                seconds(each.seconds),
            )
            for each in outcome.modules
        ),
        "By module",
    )


def _line(
    outcome: SuiteOutcome, path: Path, repository: Callable[[], Repository]
) -> ReportLine:
    failed = len(outcome.failures)
    seen = (
        f"{outcome.tests - failed - outcome.skipped:,} passed, {failed} failed, "
        f"{outcome.skipped} skipped; {seconds(outcome.seconds)} in total"
    )
    how = f"{path}, from a run started {instant(outcome.began_at)} UTC"
    state = LineState.NOT_MET if failed else LineState.MET
    if state is LineState.MET and _is_outdated(outcome, repository):
        state, seen = LineState.WARNING, f"{seen}; older than the newest commit"
    return ReportLine("tests", state, seen, "none fails", how)


def _is_outdated(outcome: SuiteOutcome, repository: Callable[[], Repository]) -> bool:
    """Whether the code has changed since the tests; False if that is unknown."""
    try:
        newest = repository().newest
    except ApexError:
        return False
    if not newest or outcome.began_at is None:
        return False
    return outcome.began_at < newest[0].committed_at
