"""What can be seen of DAX and M without their engines: names, brackets and strings.

A parser checks their syntax (`checks.py`); names are checked here, against what the
model defines and the functions that it uses.
"""

import re
from collections.abc import Collection, Iterator
from dataclasses import dataclass

DAX_FUNCTIONS = frozenset(
    {
        *("ADDCOLUMNS", "CALCULATE", "CALENDAR", "COALESCE", "COUNTROWS", "DATEDIFF"),
        *("DATESBETWEEN", "DISTINCTCOUNT", "DIVIDE", "EOMONTH", "FORMAT", "IF"),
        *("ISBLANK", "MAX", "MAXX", "MEDIANX", "MIN", "NOT", "SUM", "SUMX", "TRUE"),
        *("REMOVEFILTERS", "USERELATIONSHIP", "UTCTODAY"),
    }
)
"""Functions that the model uses; each is in Microsoft's DAX reference."""

M_FUNCTIONS = frozenset(
    {
        *("CommonDataService.Database", "Table.SelectColumns", "Table.RenameColumns"),
        *("Table.TransformColumnTypes", "Table.AddColumn", "DateTime.Date"),
        *("Duration.TotalMinutes", "Int64.Type", "Table.TransformColumns"),
        *("DateTime.FromText", "DateTimeZone.FixedUtcNow", "DateTimeZone.RemoveZone"),
        *("List.Buffer", "List.Last", "List.Select", "List.Skip", "List.Transform"),
        *("Number.FromText", "Text.Split"),
        *("Text.AfterDelimiter", "Text.BeforeDelimiter", "duration"),
    }
)
"""Functions and types that the model uses; each is in Microsoft's M reference."""

_M_WORDS = frozenset(
    {
        *(
            "let",
            "in",
            "each",
            "if",
            "then",
            "else",
            "and",
            "or",
            "not",
            "type",
            "null",
        ),
        *("text", "number", "date", "datetime", "logical", "true", "false"),
        *("CreateNavigationProperties", "Schema", "Item"),
    }
)
_DAX_WORDS = frozenset({"VAR", "RETURN", "DAY"})

_STRING = re.compile(r'"(?:[^"]|"")*"')
_PAIRS = {")": "(", "]": "[", "}": "{"}
_DAX_NAME = re.compile(
    r"(?:'(?P<table>[^']+)')?\[(?P<field>[^\]]+)\]|'(?P<whole>[^']+)'|(?P<word>[A-Za-z_]\w*)"
    r"(?P<call>\s*\()?"
)
_M_NAME = re.compile(r'#"(?P<quoted>[^"]+)"|(?P<word>[A-Za-z_][\w.]*)')
_STEP = re.compile(r'(?:^|,)\s*(?:#"([^"]+)"|([A-Za-z]\w*))\s*=(?!>)', re.MULTILINE)
_ADDED = re.compile(r'Table\.AddColumn\(\s*\w+,\s*"([^"]+)"')
_PAIR = re.compile(r'\{"([^"]+)", (?:"([^"]+)"|([\w.]+(?: \w+)?))\}')


@dataclass(frozen=True, slots=True)
class Names:
    """What a model defines, by the names that formulas use.

    Attributes:
        columns: Columns by table.
    """

    columns: dict[str, frozenset[str]]
    measures: frozenset[str]
    parameters: frozenset[str]


def unbalanced(text: str) -> str | None:
    """What is wrong with brackets and strings; None if nothing is."""
    bare = _STRING.sub("", text)
    if '"' in bare:
        return "a string does not end"
    open_ones: list[str] = []
    for sign in bare:
        if sign in _PAIRS.values():
            open_ones.append(sign)
        elif sign in _PAIRS and (not open_ones or open_ones.pop() != _PAIRS[sign]):
            return f"{sign!r} closes nothing"
    return f"{open_ones[-1]!r} is not closed" if open_ones else None


def measures_of(expression: str) -> set[str]:
    """Measures that a DAX expression refers to."""
    bare = _STRING.sub('""', expression)
    return {
        m["field"] for m in _DAX_NAME.finditer(bare) if m["field"] and not m["table"]
    }


def unknown_in_dax(
    expression: str, names: Names, own_columns: Collection[str] = ()
) -> Iterator[str]:
    """Names in a DAX expression that nothing defines.

    Args:
        expression: DAX, whose brackets and strings are in order.
        names: What the model defines.
        own_columns: What it may call by a bare name in brackets, besides measures.
    """
    bare = _STRING.sub('""', expression)
    variables = set(re.findall(r"\bVAR (\w+) =", bare))
    for match in _DAX_NAME.finditer(bare):
        table, column, whole = match["table"], match["field"], match["whole"]
        if table and column not in names.columns.get(table, ()):
            yield f"'{table}'[{column}]"
        elif column and not table and column not in {*names.measures, *own_columns}:
            yield f"[{column}]"
        elif whole and whole not in names.columns:
            yield f"'{whole}'"
        elif word := match["word"]:
            known = DAX_FUNCTIONS if match["call"] else {*variables, *_DAX_WORDS}
            if word not in known:
                yield word


def unknown_in_m(expression: str, parameters: Collection[str]) -> Iterator[str]:
    """Names in a Power Query expression that no step, parameter or library defines.

    A field in brackets must be a column that the query names in a string, or one of a
    record that it makes.
    """
    strings = {s[1:-1] for s in re.findall(r'"[^"\n]*"', expression)}
    bare = re.sub(r'(?<!#)"[^"\n]*"', '""', expression)
    steps = {one or other for one, other in _STEP.findall(bare)}
    given = {*re.findall(r"\((\w+)\) =>", bare), "_"}
    for column in re.findall(r'\[(?:#"([^"]+)"|(?!\w+ =)([\w ]+))\]', bare):
        name = column[0] or column[1]
        if name not in {*strings, *steps, "Data"}:
            yield f"[{name}]"
    outside = re.sub(r'\[(?:#"[^"]+"|(?!\w+ =)[\w ]+)\]', "", bare)
    for match in _M_NAME.finditer(outside):
        name = match["quoted"] or match["word"]
        if name not in {*steps, *given, *parameters, *M_FUNCTIONS, *_M_WORDS}:
            yield name


@dataclass(frozen=True, slots=True)
class MColumns:
    """What one of the project's queries does to columns.

    Attributes:
        selected: Columns of the source.
        renamed: Column of the source to its name in the model.
        typed: Name in the model to its type, as M writes it.
        added: Names of columns that it computes.
    """

    selected: tuple[str, ...]
    renamed: dict[str, str]
    typed: dict[str, str]
    added: tuple[str, ...]


def m_columns(expression: str) -> MColumns:
    """Read the columns of a query, as ours are written."""
    start = expression.partition("Table.SelectColumns(")[2]
    chosen = start.partition("{")[2].partition("}")[0]
    pairs = _PAIR.findall(expression)
    return MColumns(
        selected=tuple(re.findall(r'"([^"]+)"', chosen)),
        renamed={one: other for one, other, kind in pairs if other},
        typed={one: kind for one, other, kind in pairs if kind},
        added=tuple(_ADDED.findall(expression)),
    )
