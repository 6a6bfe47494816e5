"""Read the outcome of the tests from the file that `pytest --junit-xml` writes."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from xml.etree import ElementTree as ET

from apex_pipeline.errors import ApexError

DEFAULT_NAME = "test-results.xml"


@dataclass(frozen=True, slots=True)
class Module:
    """The tests of one file."""

    name: str
    tests: int
    failed: int
    skipped: int
    seconds: float


@dataclass(frozen=True, slots=True)
class SuiteOutcome:
    """The outcome of the tests.

    Attributes:
        began_at: When pytest started (aware); None if the file does not say.
        failures: Full names of the tests that failed.
    """

    began_at: datetime | None
    modules: tuple[Module, ...]
    failures: tuple[str, ...]

    @property
    def tests(self) -> int:
        """How many ran."""
        return sum(module.tests for module in self.modules)

    @property
    def skipped(self) -> int:
        """How many were skipped."""
        return sum(module.skipped for module in self.modules)

    @property
    def seconds(self) -> float:
        """Total duration of the tests."""
        return sum(module.seconds for module in self.modules)


def read_outcome(path: Path) -> SuiteOutcome:
    """Read the file.

    Raises:
        ApexError: The file does not exist, or is not one that pytest writes.
    """
    try:
        # Since 2.4.1, expat limits the expansion of entities.
        root = ET.parse(path).getroot()  # noqa: S314  our own pytest's
        suites = list(root.iter("testsuite"))
        cases = [case for suite in suites for case in suite.iter("testcase")]
        modules = _modules(cases)
        began = suites[0].get("timestamp") if suites else None
        began_at = datetime.fromisoformat(began) if began else None
    except FileNotFoundError as error:
        raise ApexError(
            f"There is no {path}. Run `pytest --junit-xml {path}`, or name another "
            "file with --junit-xml."
        ) from error
    except (OSError, ET.ParseError, ValueError) as error:
        raise ApexError(f"{path} is not a file of test results: {error}.") from error
    if not cases:
        raise ApexError(f"{path} contains no test.")
    failures = tuple(_name(case) for case in cases if _has_failed(case))
    if began_at is not None and began_at.tzinfo is None:
        # pytest before 8 wrote the local time without its zone.
        began_at = began_at.astimezone(UTC)
    return SuiteOutcome(began_at, modules, failures)


def _modules(cases: Iterable[ET.Element]) -> tuple[Module, ...]:
    by_name: dict[str, list[ET.Element]] = {}
    for case in cases:
        # For a test in a class, the class's name follows the module's.
        parts = case.get("classname", "").split(".")
        module = next((part for part in parts if part.startswith("test_")), parts[-1])
        by_name.setdefault(module, []).append(case)
    return tuple(
        Module(
            name,
            len(each),
            sum(_has_failed(case) for case in each),
            sum(case.find("skipped") is not None for case in each),
            sum(float(case.get("time", "0")) for case in each),
        )
        for name, each in sorted(by_name.items())
    )


def _has_failed(case: ET.Element) -> bool:
    return any(case.find(kind) is not None for kind in ("failure", "error"))


def _name(case: ET.Element) -> str:
    return f"{case.get('classname', '')}::{case.get('name', '')}"
