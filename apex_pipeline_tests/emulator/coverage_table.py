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
    "$orderby": "Order rows using OData",
    "$select": "Select columns using OData",
    "$skiptoken": "Page results using OData",
    "$top": "Page results using OData",
    "@name": "Use Web API functions",
    "$SolutionUniqueName": "none; Microsoft's Python SDK sends it",
}
_REFUSED = {
    "/{set}?$apply": "400 by an aggregated value, as documented",
    "/{set}, changes": "400 with change tracking, as documented",
}
# All that "Web API query functions" lists.
_NAMES = """
Above AboveOrEqual Between ContainValues Contains DoesNotContainValues EqualBusinessId
EqualUserId EqualUserLanguage EqualUserOrUserHierarchy EqualUserOrUserHierarchyAndTeams
EqualUserOrUserTeams EqualUserTeams In InFiscalPeriod InFiscalPeriodAndYear InFiscalYear
InOrAfterFiscalPeriodAndYear InOrBeforeFiscalPeriodAndYear Last7Days LastFiscalPeriod
LastFiscalYear LastMonth LastWeek LastXDays LastXFiscalPeriods LastXFiscalYears LastXHours
LastXMonths LastXWeeks LastXYears LastYear Next7Days NextFiscalPeriod NextFiscalYear
NextMonth NextWeek NextXDays NextXFiscalPeriods NextXFiscalYears NextXHours NextXMonths
NextXWeeks NextXYears NextYear NotBetween NotEqualBusinessId NotEqualUserId NotIn NotUnder
OlderThanXDays OlderThanXHours OlderThanXMinutes OlderThanXMonths OlderThanXWeeks
OlderThanXYears On OnOrAfter OnOrBefore ThisFiscalPeriod ThisFiscalYear ThisMonth ThisWeek
ThisYear Today Tomorrow Under UnderOrEqual Yesterday
"""
QUERY_FUNCTIONS = _NAMES.split()
_ACCOUNT = "accounts(00000000-0000-4000-8000-000000000001)"
_TABLE = "EntityDefinitions(LogicalName='account')"
_CONTACT = "contacts(00000000-0000-4000-8000-000000000002)"
_CRM = "Microsoft.Dynamics.CRM."
_STATE = f"{_TABLE}/Attributes(LogicalName='statecode')/{_CRM}StateAttributeMetadata"
_COMPOSE = "Compose HTTP requests and handle errors"
_OTHER_OPTIONS = (
    ("$skip, $search, $format", "400, as documented", "Query data using OData"),
    ("fetchXml, savedQuery, userQuery", "501", "Use FetchXML with the Web API"),
    ("sql", "501", "none; Microsoft's Python SDK sends it"),
    ("partitionId", "501", "Elastic tables"),
    ("any other", "501", ""),
)
# What it is, its page, and requests for it, which a test makes.
NOT_DONE = (
    ("$metadata", "Web API service documents", ("GET $metadata",)),
    (
        "files and images",
        "Use file column data",
        (f"GET {_ACCOUNT}/entityimage", f"PATCH {_ACCOUNT}/entityimage"),
    ),
    (
        "GlobalOptionSetDefinitions, ManagedPropertyDefinitions",
        "Web API reference",
        ("GET GlobalOptionSetDefinitions", "GET ManagedPropertyDefinitions"),
    ),
    (
        "elastic tables, DeleteMultiple",
        "Elastic tables",
        (f"POST accounts/{_CRM}DeleteMultiple", "GET accounts?partitionId=x"),
    ),
    (
        "`/{set}({key})/{column}/$value`",
        "Retrieve a table row using the Web API",
        (f"GET {_ACCOUNT}/name/$value",),
    ),
    (
        "`/{set}({key})/{collection}/$count`",
        "Count rows",
        (f"GET {_CONTACT}/account_primary_contact/$count",),
    ),
    (
        "`/{set}/$count` of changes",
        "Use change tracking to synchronize data with external systems",
        ("GET accounts/$count?$deltatoken=1",),
    ),
    (
        "`$expand={lookup}/$ref`",
        "Join tables using OData",
        ("GET accounts?$expand=createdby/$ref",),
    ),
    (
        "`DELETE /{set}({key})/{collection}/$ref?$id=`",
        "Associate and disassociate table rows using the Web API",
        (f"DELETE {_CONTACT}/account_primary_contact/$ref?$id=accounts(x)",),
    ),
    (
        "`/EntityDefinitions({key})/Attributes({key})/{type}/OptionSet`",
        "Query table definitions using the Web API",
        (f"GET {_STATE}/OptionSet",),
    ),
    (
        "many-to-many relationships of custom tables",
        "Table relationship definitions",
        (f"GET RelationshipDefinitions/{_CRM}ManyToManyRelationshipMetadata",),
    ),
    (
        "related records created in one request",
        "Create a table row using the Web API",
        ('POST accounts {"primarycontactid": {"firstname": "x"}}',),
    ),
    (
        "other tables and columns of the platform",
        "Web API reference",
        ("GET leads", "GET accounts?$select=address2_city"),
    ),
    (
        "other functions and actions, such as SetAutoNumberSeed",
        "Web API reference",
        ("GET RetrieveEntity(LogicalName='account')", "POST SetAutoNumberSeed"),
    ),
    ("other versions than 9.0 to 9.2; SOAP", _COMPOSE, ()),
)


def table() -> str:
    """The whole page."""
    return "\n".join([_HEAD, *_addresses(), *_messages(), *_options(), *_headers()]) + (
        "\n\n## Not done\n\n| what | answer | source |\n|---|---|---|\n"
        + "".join(f"| {what} | 501 | {source} |\n" for what, source, _ in NOT_DONE)
    )


def _addresses() -> Iterator[str]:
    yield "## Addresses\n\n| method | address | answer | source |\n|---|---|---|---|"
    for (method, _), route in surface.ROUTES.items():
        answer = "done" if route.done else "501"
        yield f"| {method} | `{route.address}` | {answer} | {route.source} |"
    bulk = _names(places.BULK_MESSAGES)
    yield f"\n`{{message}}` is {bulk}; `{{relationships}}` any of {_names(places.PARTS)}."


def _messages() -> Iterator[str]:
    yield "\n## Functions and actions\n\n| method | message | done | 501 | source |"
    yield "|---|---|---|---|---|"
    for name, (method, route) in sorted(surface.MESSAGES.items()):
        done = _names(route.parameters) or "done"
        yield f"| {method} | {name} | {done} | {_names(route.others)} | {route.source} |"
    yield "\n## Functions in `$filter`\n\n| function | answer | source |\n|---|---|---|"
    for name in QUERY_FUNCTIONS:
        answer = "done" if name in query_functions.NAMES else "501"
        yield f"| `{name}` | {answer} | Web API query functions |"
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
        refusing = [r.address for _, r in routes if plain in r.refused]
        other[:0] = [_REFUSED[address] for address in refusing]
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
