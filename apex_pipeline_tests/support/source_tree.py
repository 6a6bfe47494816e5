"""The modules of the package, as syntax trees."""

import ast
from collections.abc import Callable
from functools import cache
from pathlib import Path

PACKAGE = Path(__file__).parents[2] / "apex_pipeline"
MODULES = sorted(PACKAGE.rglob("*.py"))


def offenders(is_one: Callable[[Path], bool]) -> list[str]:
    """The modules that break a rule; one test for all, since there are hundreds."""
    assert len(MODULES) > 100
    return [path.relative_to(PACKAGE).as_posix() for path in MODULES if is_one(path)]


@cache
def nodes(path: Path) -> list[ast.AST]:
    """The nodes of a module's syntax tree."""
    return list(ast.walk(ast.parse(path.read_text())))


def within(path: Path, *places: str) -> bool:
    name = path.relative_to(PACKAGE).as_posix()
    return any(name == place or name.startswith(f"{place}/") for place in places)
