"""Reads the text of `$expand` into its clauses."""

from dataclasses import dataclass

from apex_pipeline.emulator import web_api_errors

_PAIRS = {"(": 1, ")": -1}


@dataclass(frozen=True, slots=True)
class Clause:
    """One navigation property with its inner options."""

    name: str
    options: dict[str, str]

    def expand(self) -> "list[Clause]":
        """The clauses of the inner `$expand`."""
        text = self.options.get("$expand")
        return [] if text is None else parse(text)

    def count(self) -> int:
        """How many clauses this is with those within it."""
        return 1 + sum(each.count() for each in self.expand())


def parse(text: str) -> list[Clause]:
    """Read `Attributes($select=a;$filter=b eq 'c'),Keys`."""
    clauses = []
    for part in split(text, ","):
        name, opening, inner = part.strip().partition("(")
        if opening and not inner.endswith(")"):
            raise _malformed(text)
        name = name.strip()
        if "/" in name:
            raise web_api_errors.not_emulated(f"the path {name[:100]} in $expand.")
        options = {}
        for option in split(inner[:-1], ";") if opening else []:
            key, separator, value = option.strip().partition("=")
            if not separator or key in options:
                raise _malformed(text)
            options[key] = value
        if not name.isidentifier():
            raise _malformed(text)
        clauses.append(Clause(name, options))
    return clauses


def split(text: str, separator: str) -> list[str]:
    """Parts between separators, but not within parentheses or quotes."""
    parts, depth, quoted = [""], 0, False
    for character in text:
        if character == "'":
            quoted = not quoted
        elif not quoted:
            depth += _PAIRS.get(character, 0)
        if depth < 0:
            raise _malformed(text)
        if character == separator and depth == 0 and not quoted:
            parts.append("")
        else:
            parts[-1] += character
    if depth or quoted:
        raise _malformed(text)
    return parts


def _malformed(text: str) -> web_api_errors.WebApiError:
    return web_api_errors.malformed_url(f"Syntax error in $expand '{text[:200]}'.")
