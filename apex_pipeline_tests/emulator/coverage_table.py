"""Makes docs/emulator-coverage.md from the emulator's routes and guard.

`python -m apex_pipeline_tests.emulator.coverage_table > docs/emulator-coverage.md`
"""

from collections.abc import Iterable, Iterator

from apex_pipeline.emulator import expansions, guard, places, query_functions, surface

_HEAD = """# What the emulator covers

This page is generated from the emulator's routes and its guard; do not edit it. What is
not done answers 501 with a Dataverse error body that names it. Sources are pages of
Microsoft Learn.
"""
_OPTIONS = {
    "$apply": "Aggregate data using OData",
    "$count": "Count rows",
    "$deltatoken": "Use change tracking to synchronize data with external systems",
    "$expand": "Join tables using OData",
    "$filter": "Filter rows using OData",
    "$id": "Associate and disassociate table rows using the Web API",
    "$orderby": "Order rows using OData",
    "$select": "Select columns using OData",
    "$skiptoken": "Page results using OData",
    "$top": "Page results using OData",
    "@name": "Use Web API functions",
    "$SolutionUniqueName": "none; Microsoft's Python SDK sends it",
}
_COMPOSE = "Compose HTTP requests and handle errors"
_OTHER_OPTIONS = (
    ("$skip, $search, $format", "400, as documented", "Query data using OData"),
    ("fetchXml, savedQuery, userQuery", "501", "Use FetchXML with the Web API"),
    ("sql", "501", "none; Microsoft's Python SDK sends it"),
    ("partitionId", "501", "Elastic tables"),
    ("any other", "501", ""),
)
_NOT_DONE = (
    ("$metadata", "Web API service documents"),
    ("files and images", "Use file column data"),
    ("GlobalOptionSetDefinitions, ManagedPropertyDefinitions", "Web API reference"),
    ("elastic tables, DeleteMultiple", "Elastic tables"),
    ("many-to-many relationships of custom tables", "Table relationship definitions"),
    ("related records created in one request", "Create a table row using the Web API"),
    ("other tables and columns of the platform", "Web API reference"),
    ("other functions and actions", "Web API reference"),
    ("other versions than 9.0 to 9.2; SOAP", _COMPOSE),
)


def table() -> str:
    """The whole page."""
    return "\n".join([_HEAD, *_addresses(), *_messages(), *_options(), *_headers()]) + (
        "\n\n## Not done\n\n| what | answer | source |\n|---|---|---|\n"
        + "".join(f"| {what} | 501 | {source} |\n" for what, source in _NOT_DONE)
    )


def _addresses() -> Iterator[str]:
    yield "## Addresses\n\n| method | address | answer | source |\n|---|---|---|---|"
    for (method, _), route in surface.ROUTES.items():
        yield f"| {method} | `{route.address}` | done | {route.source} |"
    bulk = _names(places.BULK_MESSAGES)
    yield f"\n`{{message}}` is {bulk}; `{{relationships}}` any of {_names(places.PARTS)}."


def _messages() -> Iterator[str]:
    yield "\n## Functions and actions\n\n| method | message | done | 501 | source |"
    yield "|---|---|---|---|---|"
    for name, (method, route) in sorted(surface.MESSAGES.items()):
        done = _names(route.parameters) or "done"
        yield f"| {method} | {name} | {done} | {_names(route.others)} | {route.source} |"
    yield "\n## Functions in `$filter`\n\n| function | answer | source |\n|---|---|---|"
    for name in sorted(query_functions.NAMES):
        yield f"| `{name}` | done | Web API query functions |"
    for name in ("any", "all", "contains", "endswith", "startswith"):
        yield f"| `{name}` | done | Filter rows using OData |"
    yield "| any other | 501 | Web API query functions |"


def _options() -> Iterator[str]:
    yield "\n## Query options\n\n| option | done on | elsewhere | source |"
    yield "|---|---|---|---|"
    routes = [(method, route) for (method, _), route in surface.ROUTES.items()]
    routes += list(surface.MESSAGES.values())
    for name, source in _OPTIONS.items():
        plain = name.replace("$S", "S")
        on = [f"{m} `{r.address}`" for m, r in routes if plain in r.options]
        other = ["501"]
        if any(plain in route.refused for _, route in routes):
            other.insert(0, "400 with change tracking, as documented")
        if any(plain in route.ignored for _, route in routes):
            other.insert(0, "ignored on update, as documented")
        yield f"| `{plain}` | {', '.join(on)} | {'; '.join(other)} | {source} |"
    yield "| `tag` | everywhere: there is no plug-in to read it | | Optional parameters |"
    for name, answer, source in _OTHER_OPTIONS:
        yield f"| {name} | | {answer} | {source} |"
    yield "\nWithin `$expand`: lookups take " + _names(expansions.OF_ONE) + ", "
    yield f"collections {_names(expansions.OF_MANY)}."


def _headers() -> Iterator[str]:
    yield "\n## Headers and preferences\n\n| header | answer | source |\n|---|---|---|"
    routes = [
        *surface.ROUTES.values(),
        *(each for _, each in surface.MESSAGES.values()),
    ]
    honoured = sorted({name for route in routes for name in route.headers})
    for name in (*guard.EVERYWHERE, "content-type", "prefer"):
        yield f"| `{name}` | done everywhere | {_COMPOSE} |"
    for name in honoured:
        on = sorted({f"`{r.address}`" for r in routes if name in r.headers})
        yield f"| `{name}` | done on {', '.join(on)}; 501 elsewhere | {_COMPOSE} |"
    for name in ("MSCRMCallerID", "CallerObjectId"):
        yield f"| `{name}` | 501 | Impersonate another user using the Web API |"
    for name in (
        *sorted(guard.NEVER - {"callerobjectid"}),
        "any other of " + _names(guard.OF_MEANING),
    ):
        yield f"| {name} | 501 | |"
    preferences = guard.PREFERENCES.union(*(route.preferences for route in routes))
    for name in sorted(preferences):
        yield f"| `Prefer: {name}` | done | {_COMPOSE} |"
    yield f"| any other preference | 501 | {_COMPOSE} |"


def _names(names: Iterable[str]) -> str:
    return ", ".join(f"`{name}`" for name in sorted(names))


if __name__ == "__main__":
    print(table(), end="")  # noqa: T201 # its output
