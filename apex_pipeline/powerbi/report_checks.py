"""What must hold of the report: fields and roles exist, and pages are accessible.

The JSON schemas see none of this: a visual of an unknown type, in a role that its type
does not have, with a measure that the model lacks, is valid by them.
"""

import json
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import PurePosixPath
from typing import Any

from apex_pipeline.powerbi.colours import SHAPE_CONTRAST, TEXT_CONTRAST, contrast
from apex_pipeline.powerbi.model_files import Model
from apex_pipeline.powerbi.visual_roles import ROLES, Role

Json = Mapping[str, Any]
_PAGES = "definition/pages"
_ID = re.compile(r"[0-9a-f]{20}")


def report_problems(files: Mapping[str, Json], model: Model) -> Iterator[str]:
    """What is wrong with a report.

    Args:
        files: The JSON files of its folder: path to content.
        model: The semantic model that it shows.
    """
    pages = _pages(files)
    yield from _order(files, pages)
    yield from _theme(files)
    filters: Counter[str] = Counter()
    for folder, page in pages.items():
        visuals = _visuals(files, folder, "visual.json")
        yield from _named(f"page {page.get('displayName')}", folder, page)
        for name, visual in visuals.items():
            yield from _named(f"visual {folder}/{name}", name, visual)
            yield from _visual(f"visual {folder}/{name}", visual, model)
        yield from _placed(folder, page, list(visuals.values()))
        yield from _phone(files, folder, visuals)
        for each in page.get("filterConfig", {}).get("filters", []):
            filters[str(each.get("name"))] += 1
            yield from _field(f"page {folder}", each.get("field", {}), model)
        yield from _binding(folder, page)
    names = Counter(page.get("displayName") for page in pages.values())
    yield from (f"{n} pages are called {name}." for name, n in names.items() if n > 1)
    yield from (
        f"{n} filters are called {name}." for name, n in filters.items() if n > 1
    )


def _pages(files: Mapping[str, Json]) -> dict[str, Json]:
    return {
        PurePosixPath(path).parts[2]: content
        for path, content in files.items()
        if path.startswith(f"{_PAGES}/") and path.endswith("/page.json")
    }


def _visuals(files: Mapping[str, Json], page: str, file: str) -> dict[str, Json]:
    start = f"{_PAGES}/{page}/visuals/"
    return {
        PurePosixPath(path).parts[4]: content
        for path, content in files.items()
        if path.startswith(start) and path.endswith(f"/{file}")
    }


def _order(files: Mapping[str, Json], pages: Mapping[str, Json]) -> Iterator[str]:
    listed = files.get(f"{_PAGES}/pages.json", {})
    order = listed.get("pageOrder", [])
    if sorted(order) != sorted(pages):
        yield "pages.json does not list each page once."
    if listed.get("activePageName") not in pages:
        yield "pages.json opens the report on a page that is not there."
    for path in files:
        parts = PurePosixPath(path).parts
        if (
            parts[:2] == ("definition", "pages")
            and len(parts) > 3
            and parts[2] not in pages
        ):
            yield f"{path} belongs to no page."


def _named(what: str, folder: str, content: Json) -> Iterator[str]:
    if not _ID.fullmatch(folder):
        yield f"{what}: {folder} is not 20 hexadecimal digits; Desktop may ignore it."
    if content.get("name") != folder:
        yield f"{what}: its name {content.get('name')} is not that of its folder."


def _visual(where: str, content: Json, model: Model) -> Iterator[str]:
    visual = content.get("visual", {})
    kind = visual.get("visualType")
    query = visual.get("query", {})
    state = query.get("queryState", {})
    if kind not in ROLES:
        yield f"{where}: there is no visual type {kind} in the table of roles."
        return
    for role, known in ROLES[kind].items():
        if known.is_required and not state.get(role, {}).get("projections"):
            yield f"{where}: a {kind} needs fields in the role {role}."
    for role, given in state.items():
        projections = given.get("projections", [])
        if role not in ROLES[kind]:
            yield f"{where}: a {kind} has no role {role}."
            continue
        yield from _projections(where, role, ROLES[kind][role], projections, model)
    for sort in query.get("sortDefinition", {}).get("sort", []):
        yield from _field(where, sort.get("field", {}), model)
    yield from _words(where, visual)


def _projections(
    where: str, role: str, known: Role, projections: Sequence[Json], model: Model
) -> Iterator[str]:
    if known.most is not None and len(projections) > known.most:
        yield f"{where}: the role {role} takes {known.most} fields."
    for projection in projections:
        found = projection.get("field", {})
        yield from _field(where, found, model)
        kind = "measure" if "Measure" in found else "column"
        if known.takes not in {"either", kind}:
            yield f"{where}: the role {role} takes a {known.takes}, not a {kind}."
        table, name = _parts(found)
        if projection.get("queryRef") != f"{table}.{name}":
            yield f"{where}: queryRef of {name} is {projection.get('queryRef')}."
        if projection.get("nativeQueryRef") != name:
            yield f"{where}: nativeQueryRef of {name} is not its name."
    refs = Counter(p.get("queryRef") for p in projections)
    yield from (f"{where}: {ref} is there twice." for ref, n in refs.items() if n > 1)


def _parts(field: Json) -> tuple[str, str]:
    for inner in field.values():
        entity = inner.get("Expression", {}).get("SourceRef", {}).get("Entity", "")
        return entity, inner.get("Property", "")
    return "", ""


def _field(where: str, field: Json, model: Model) -> Iterator[str]:
    if len(field) != 1 or not field.keys() <= {"Measure", "Column"}:
        yield f"{where}: a field is neither a measure nor a column."
        return
    table, name = _parts(field)
    if not model.has(table, name, is_measure="Measure" in field):
        yield f"{where}: the model has no {next(iter(field)).lower()} {table}[{name}]."


def _words(where: str, visual: Json) -> Iterator[str]:
    objects = visual.get("visualContainerObjects", {})
    for place, key, what in (
        ("title", "text", "title"),
        ("general", "altText", "alternative text"),
    ):
        found = objects.get(place) or [{}]
        literal = found[0].get("properties", {}).get(key, {}).get("expr", {})
        text = str(literal.get("Literal", {}).get("Value", ""))
        if not (len(text) > 2 and text[0] == text[-1] == "'"):
            yield f"{where} has no {what}."


def _placed(folder: str, page: Json, visuals: Sequence[Json]) -> Iterator[str]:
    positions = [visual.get("position", {}) for visual in visuals]
    yield from _overlaps(f"page {folder}", positions)
    for position in positions:
        right = position.get("x", -1) + position.get("width", 0)
        bottom = position.get("y", -1) + position.get("height", 0)
        if not (
            position.get("x", -1) >= 0
            and position.get("y", -1) >= 0
            and right <= page.get("width", 0)
            and bottom <= page.get("height", 0)
        ):
            yield f"page {folder}: a visual does not lie within the page."
    orders = sorted(position.get("tabOrder", -1) for position in positions)
    if orders != list(range(len(positions))):
        yield f"page {folder}: the tab order is {orders}."


def _overlaps(where: str, positions: Sequence[Json]) -> Iterator[str]:
    for number, one in enumerate(positions):
        for other in positions[number + 1 :]:
            if all(
                one.get(start, 0) < other.get(start, 0) + other.get(length, 0)
                and other.get(start, 0) < one.get(start, 0) + one.get(length, 0)
                for start, length in (("x", "width"), ("y", "height"))
            ):
                yield f"{where}: two visuals overlap."


def _phone(
    files: Mapping[str, Json], folder: str, visuals: Mapping[str, Json]
) -> Iterator[str]:
    phone = _visuals(files, folder, "mobile.json")
    if not phone:
        yield f"page {folder} has no phone layout."
    for name in phone.keys() - visuals.keys():
        yield f"page {folder}: the phone layout shows {name}, which is not there."
    positions = [content.get("position", {}) for content in phone.values()]
    yield from _overlaps(f"phone layout of page {folder}", positions)
    for position in positions:
        if position.get("x", -1) < 0 or not 0 < position.get("width", 0) <= 324:
            yield f"phone layout of page {folder}: a visual is wider than a phone."
    in_order = sorted(positions, key=lambda p: p.get("tabOrder", 0))
    if in_order != sorted(positions, key=lambda p: p.get("y", 0)):
        yield f"phone layout of page {folder}: the tab order is not from top to bottom."


def _binding(folder: str, page: Json) -> Iterator[str]:
    names = {f.get("name") for f in page.get("filterConfig", {}).get("filters", [])}
    binding = page.get("pageBinding", {})
    if (page.get("type") == "Drillthrough") != (binding.get("type") == "Drillthrough"):
        yield f"page {folder} is half a drill-through page."
    for parameter in binding.get("parameters", []):
        if parameter.get("boundFilter") not in names:
            yield f"page {folder}: its drill-through binds a filter that is not there."


def _theme(files: Mapping[str, Json]) -> Iterator[str]:
    report = files.get("definition/report.json", {})
    named = report.get("themeCollection", {}).get("customTheme", {}).get("name")
    items = [
        item
        for pack in report.get("resourcePackages", [])
        for item in pack.get("items", [])
    ]
    paths = {item.get("path") for item in items if item.get("name") == named}
    found = files.get(f"StaticResources/RegisteredResources/{named}")
    if named not in paths or found is None or found.get("name") != named:
        yield f"The theme {named} is not in the report under that name."
        return
    yield from theme_problems(found)


_TEXTS = (
    *("foreground", "foregroundNeutralSecondary", "good", "bad", "neutral"),
    "tableAccent",
)
_BACKGROUNDS = ("background", "backgroundLight")
_COLOUR = re.compile("#[0-9a-fA-F]{6}")


def theme_problems(theme: Json) -> Iterator[str]:
    """Colours of a theme that do not stand out enough from their background."""
    named = {key: theme.get(key) for key in (*_TEXTS, *_BACKGROUNDS)}
    texts = {str(named[key]) for key in _TEXTS}
    for style in theme.get("textClasses", {}).values():
        texts.add(str(style.get("color")))
    shapes = set(map(str, theme.get("dataColors", [])))
    backgrounds = {str(named[key]) for key in _BACKGROUNDS}
    odd = sorted(c for c in texts | shapes | backgrounds if not _COLOUR.fullmatch(c))
    if odd or not shapes:
        yield f"The theme lacks colours, or has {', '.join(odd) or 'no dataColors'}."
        return
    for background in sorted(backgrounds):
        for colours, least in ((texts, TEXT_CONTRAST), (shapes, SHAPE_CONTRAST)):
            for colour in sorted(colours):
                if contrast(colour, background) < least:
                    yield f"{colour} on {background}: contrast is below {least}:1."


def parse(path: str, text: str) -> tuple[Json, list[str]]:
    """Read a JSON file; a problem instead of content where it is none."""
    try:
        content = json.loads(text)
    except ValueError as error:
        return {}, [f"{path} is no JSON: {error}."]
    return (content, []) if isinstance(content, dict) else ({}, [f"{path}: no object."])
