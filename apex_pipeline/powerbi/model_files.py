"""The semantic model as its files describe it."""

from collections.abc import Mapping, Sequence

from apex_pipeline.powerbi.formulas import Names
from apex_pipeline.powerbi.tmdl_grammar import Node
from apex_pipeline.powerbi.tmdl_reader import TmdlError, read_tmdl


class Model:
    """The semantic model as its files describe it."""

    def __init__(self, files: Mapping[str, Sequence[Node]]) -> None:
        self.files = files
        self.tables = [
            n for nodes in files.values() for n in nodes if n.kind == "table"
        ]
        self.parameters = list(files.get("expressions.tmdl", ()))
        self.relationships = list(files.get("relationships.tmdl", ()))

    @property
    def names(self) -> Names:
        """What formulas may refer to."""
        return Names(
            {t.name: frozenset(c.name for c in t.of("column")) for t in self.tables},
            frozenset(m.name for t in self.tables for m in t.of("measure")),
            frozenset(p.name for p in self.parameters),
        )

    def has(self, table: str, name: str, *, is_measure: bool) -> bool:
        """Whether a table has a measure or column of that name."""
        kind = "measure" if is_measure else "column"
        return any(
            t.name == table and any(c.name == name for c in t.of(kind))
            for t in self.tables
        )


def read_model(files: Mapping[str, str]) -> tuple[Model, list[str]]:
    """Read the files of the folder `definition`, with the lines that are wrong."""
    read: dict[str, Sequence[Node]] = {}
    problems = []
    for path, text in files.items():
        try:
            read[path] = read_tmdl(path, text)
        except TmdlError as error:
            problems.append(str(error))
    needed = {"database.tmdl", "model.tmdl", "expressions.tmdl", "relationships.tmdl"}
    problems += [f"{path} is missing." for path in sorted(needed - files.keys())]
    return Model(read), problems
