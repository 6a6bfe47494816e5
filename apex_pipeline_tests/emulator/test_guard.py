"""Nothing in a request is dropped: honoured, refused as documented, or 501 by name.

Every query option is walked over every route, in process, for there are thousands.
"""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

import pytest

from apex_pipeline.emulator import (
    query_functions,
    security,
    service,
    surface,
    system_tables,
    table_definitions,
)
from apex_pipeline.emulator.instance import CLIENT_ID, Emulator, Options
from apex_pipeline.emulator.wire import OperationRequest, Response
from apex_pipeline_tests.emulator import coverage_table

API = "https://localhost/api/data/v9.2"
SET = "apex_campaignmetricses"
TABLE = "EntityDefinitions(LogicalName='apex_campaignmetrics')"
CRM = "Microsoft.Dynamics.CRM."
JSON = {"content-type": "application/json"}
ACCOUNT = "accounts(00000000-0000-4000-8000-000000000001)"
CONTACT = "contacts(00000000-0000-4000-8000-000000000002)"
USER = f"systemusers({table_definitions.metadata_id('systemuser', CLIENT_ID)})"
ROLE = f"roles({system_tables.ADMINISTRATOR_ROLE})"
OPTIONS = (
    *("$select", "$filter", "$orderby", "$top", "$count", "$expand", "$skiptoken"),
    *("$deltatoken", "$apply", "$id", "$skip", "$search", "$format", "$compute"),
    *("$levels", "$schemaversion", "$Select", "select", "fetchXml", "savedQuery"),
    *("userQuery", "sql", "partitionId", "SolutionUniqueName", "LabelLanguages"),
    *("api-version", "made-up", "tag", "@alias"),
)
# Where a kind of address is, and what has to be in its query.
PATHS = {
    "service document": "",
    "$batch": "$batch",
    "records": "accounts",
    "aggregation": "accounts?$apply=groupby((name),aggregate($count as number))",
    "changes": f"{SET}?$deltatoken=TOKEN",
    "count": "accounts/$count",
    "bulk message": f"accounts/{CRM}CreateMultiple",
    "record": ACCOUNT,
    "property": f"{ACCOUNT}/name",
    "related record": f"{ACCOUNT}/primarycontactid",
    "related records": f"{CONTACT}/account_primary_contact",
    "reference": f"{ACCOUNT}/primarycontactid/$ref",
    "references": f"{CONTACT}/account_primary_contact/$ref",
    "systemuser RetrieveUserPrivileges": f"{USER}/{CRM}RetrieveUserPrivileges()",
    "role AddPrivilegesRole": f"{ROLE}/{CRM}AddPrivilegesRole",
    "role ReplacePrivilegesRole": f"{ROLE}/{CRM}ReplacePrivilegesRole",
    "role RemovePrivilegeRole": f"{ROLE}/{CRM}RemovePrivilegeRole",
    "definitions": "EntityDefinitions",
    "definitions count": "EntityDefinitions/$count",
    "definition": TABLE,
    "columns": f"{TABLE}/Attributes/{CRM}StateAttributeMetadata",
    "column": f"{TABLE}/Attributes(LogicalName='statecode')/{CRM}StateAttributeMetadata",
    "keys": f"{TABLE}/Keys",
    "key": f"{TABLE}/Keys(LogicalName='apex_key')",
    "parts": f"{TABLE}/ManyToOneRelationships",
    "part": f"{TABLE}/ManyToOneRelationships"
    "(SchemaName='lk_apex_campaignmetrics_createdby')",
    "relationships": "RelationshipDefinitions",
    "relationship": "RelationshipDefinitions(SchemaName='account_primary_contact')",
}
# Options with which the same path is another kind of address.
OTHERWISE = {
    "records": {"$apply", "$deltatoken"},
    "aggregation": {"$apply"},
    "changes": {"$deltatoken", "$apply"},
}
# A value of each honoured option that changes the answer.
_LIST = {
    "$select": "name",
    "$filter": "name eq 'two'",
    "$orderby": "name desc",
    "$top": "1",
    "$count": "true",
    "$expand": "createdby($select=fullname)",
    "@alias": "'two'",
}
_DEFINED = {
    "$select": "SchemaName",
    "$filter": "SchemaName eq 'nothing'",
    "@alias": "'x'",
}
_STATE = {"$select": "LogicalName", "$expand": "OptionSet", "@alias": "'x'"}
WITNESSES: dict[str, dict[str, str]] = {
    "GET records": _LIST,
    "GET aggregation": {
        "$filter": "name eq 'two'",
        "$top": "1",
        "@alias": "'two'",
    },
    "GET changes": {"$select": "apex_phase", "$skiptoken": "nonsense"},
    "GET count": {"$filter": "name eq 'two'", "@alias": "'two'"},
    "POST records": {"$select": "nonsense", "$expand": "nonsense", "@alias": "'x'"},
    "GET record": {
        "$select": "name",
        "$expand": "primarycontactid($select=fullname)",
        "@alias": "'x'",
    },
    "PATCH record": {"$select": "nonsense"},
    "GET related record": {
        "$select": "firstname",
        "$expand": "createdby($select=fullname)",
        "@alias": "'x'",
    },
    "GET related records": _LIST,
    "GET definitions": _DEFINED | {"$expand": "Keys"},
    "GET definition": {"$select": "SchemaName", "$expand": "Keys", "@alias": "'x'"},
    "GET columns": _DEFINED | {"$expand": "OptionSet"},
    "GET column": _STATE,
    "GET keys": _DEFINED | {"$expand": "nonsense"},
    "GET key": {"$select": "SchemaName", "$expand": "nonsense", "@alias": "'x'"},
    "GET parts": _DEFINED | {"$expand": "nonsense"},
    "GET part": {"$select": "SchemaName", "$expand": "nonsense", "@alias": "'x'"},
    "GET relationships": _DEFINED,
    "GET relationship": {"$select": "SchemaName"},
}
BODIES: dict[str, Any] = {
    "POST records": {"name": "three"},
    "POST bulk message": {"Targets": [{"@odata.type": f"{CRM}account"}]},
    "PATCH record": {"name": "one"},
    "PUT property": {"value": "one"},
    "PUT reference": {"@odata.id": CONTACT},
    "POST references": {"@odata.id": ACCOUNT},
}


@dataclass
class World:
    """An emulator without a server around it."""

    emulator: Emulator
    token: str = ""

    def ask(
        self,
        method: str,
        url: str,
        body: Any = None,
        headers: dict[str, str] | None = None,
    ) -> Response:
        path, _, query = url.replace("TOKEN", self.token).partition("?")
        user = security.principal(self.emulator.environment, CLIENT_ID)
        content = b"" if body is None else json.dumps(body).encode()
        given = (JSON if method in {"POST", "PATCH", "PUT"} else {}) | (headers or {})
        request = OperationRequest(
            method, quote(path, safe="/$()=',"), query, given, content, API
        )
        return service.handle(self.emulator.environment, user, request)

    def records(self) -> list[Any]:
        return [
            self.ask("GET", f"{each}?$select=versionnumber").body
            for each in ("accounts", "contacts", SET)
        ]


@pytest.fixture(scope="module")
def world() -> Iterator[World]:
    emulator = Emulator(Options("secret"))
    world = World(emulator)
    key = {"SchemaName": "apex_key", "KeyAttributes": ["apex_runid"], "DisplayName": {}}
    for method, url, body in (
        ("PATCH", CONTACT, {"firstname": "Ada"}),
        ("PATCH", ACCOUNT, {"name": "one", "primarycontactid@odata.bind": CONTACT}),
        ("POST", "accounts", {"name": "two", "primarycontactid@odata.bind": CONTACT}),
        ("POST", SET, {"apex_phase": "1"}),
        ("POST", f"{TABLE}/Keys", key),
    ):
        assert world.ask(method, url, body).status == 204
    tracked = world.ask("GET", SET, headers={"prefer": "odata.track-changes"})
    world.token = json.loads(tracked.body)["@odata.deltaLink"].rpartition("=")[2]
    assert world.ask("POST", SET, {"apex_phase": "2"}).status == 204
    yield world
    emulator.close()


def error(answer: Response) -> dict[str, str]:
    found: dict[str, str] = json.loads(answer.body)["error"]
    return found


def with_option(url: str, name: str, value: str) -> str:
    return f"{url}{'&' if '?' in url else '?'}{quote(name)}={quote(value)}"


def test_every_route_has_what_carries_it_out():
    for (method, resource), route in surface.ROUTES.items():
        if resource != "$batch" and route.done:
            assert callable(service.handler_of(method, resource, ""))
    for name in surface.MESSAGES:
        assert callable(service.handler_of("GET", "message", name))
    assert {resource for _, resource in surface.ROUTES} == PATHS.keys()


DONE = [each for each, route in surface.ROUTES.items() if route.done]


@pytest.mark.parametrize("route", sorted(surface.ROUTES.keys() - DONE), ids=" ".join)
def test_addresses_that_are_not_done_are_501(world, route):
    method, resource = route
    before = world.records()
    answer = world.ask(method, PATHS[resource], {} if method != "GET" else None)
    assert (answer.status, world.records()) == (501, before)
    assert surface.ROUTES[route].address in error(answer)["message"]


@pytest.mark.parametrize("route", DONE, ids=" ".join)
def test_every_option_of_every_route_is_honoured_refused_or_501(world, route):
    method, resource = route
    known, url = surface.ROUTES[route], PATHS[resource]
    body = BODIES.get(f"{method} {resource}", {} if method != "GET" else None)
    witnesses = WITNESSES.get(f"{method} {resource}", {})
    assert known.options - {"$skiptoken", "@name"} <= witnesses.keys() | OTHERWISE.get(
        resource, set()
    )
    before = world.records()
    plain = world.ask(method, url, body) if method == "GET" else None
    for name in OPTIONS:
        if name in OTHERWISE.get(resource, ()):
            continue
        asked = with_option(url, name, witnesses.get(name, "1"))
        if name == "@alias" and "@name" in known.options:
            continue
        if name in known.options or name in known.ignored or name == "tag":
            if method == "GET" and name != "tag":
                answer = world.ask(method, asked, body)
                assert plain is not None
                assert (answer.status, answer.body) != (plain.status, plain.body), name
                assert "does not do this: the query option" not in answer.body.decode()
            continue
        answer = world.ask(method, asked, body)
        if resource == "aggregation" and name in known.refused:
            continue
        if name in {"$skip", "$search", "$format"} or name in known.refused:
            assert answer.status == 400, (name, answer)
        else:
            assert answer.status == 501, (name, answer)
        assert name in error(answer)["message"]
    assert world.records() == before


@pytest.mark.parametrize(
    "route",
    [each for each in surface.ROUTES if "@name" in surface.ROUTES[each].options],
    ids=" ".join,
)
def test_aliases_stand_for_values(world, route):
    method, resource = route
    if "$filter" not in surface.ROUTES[route].options or method != "GET":
        assert "501" not in str(
            world.ask("GET", with_option(ACCOUNT, "@x", "1")).status
        )
        return
    name = (
        "name"
        if resource in WITNESSES["GET records"] | PATHS
        and ("accounts" in PATHS[resource] or "account_" in PATHS[resource])
        else "SchemaName"
    )
    literal = with_option(PATHS[resource], "$filter", f"{name} eq 'two'")
    aliased = with_option(
        with_option(PATHS[resource], "$filter", f"{name} eq @x"), "@x", "'two'"
    )
    first, second = world.ask(method, literal), world.ask(method, aliased)
    assert first.status == second.status == 200
    assert first.body == second.body


@pytest.mark.parametrize("name", surface.MESSAGES)
@pytest.mark.parametrize("option", ["$select", "$filter", "made-up", "sql"])
def test_options_of_messages_are_501(world, name, option):
    method, _ = surface.MESSAGES[name]
    answer = world.ask(method, f"{name}?{option}=1", {} if method == "POST" else None)
    assert (answer.status, option in error(answer)["message"]) == (501, True)


@pytest.mark.parametrize("name", surface.MESSAGES)
def test_parameters_of_messages_are_honoured_or_named(world, name):
    method, route = surface.MESSAGES[name]
    for parameter in (*route.others, "MadeUp"):
        answer = (
            world.ask("POST", name, {parameter: 1})
            if method == "POST"
            else world.ask("GET", f"{name}({parameter}=1)")
        )
        assert answer.status == (501 if parameter in route.others else 400)
        assert parameter in error(answer)["message"]


@pytest.mark.parametrize("name", surface.MESSAGES)
def test_a_message_asked_the_wrong_way_is_not_found(world, name):
    """From "Troubleshoot Web API client errors"."""
    method, _ = surface.MESSAGES[name]
    wrong = "GET" if method == "POST" else "POST"
    answer = world.ask(wrong, name, {} if wrong == "POST" else None)
    assert answer.status == 404
    assert "No HTTP resource was found" in error(answer)["message"]


@pytest.mark.parametrize(
    ("header", "value"),
    [
        ("mscrmcallerid", "00000000-0000-4000-8000-000000000001"),
        ("callerobjectid", "00000000-0000-4000-8000-000000000001"),
        ("mscrm.madeup", "true"),
        ("mscrm.bypasscustompluginexecution", "true"),
        ("mscrm.sessiontoken", "x"),
        ("if-modified-since", "Sat, 29 Oct 1994 19:43:31 GMT"),
        ("if-unmodified-since", "Sat, 29 Oct 1994 19:43:31 GMT"),
        ("if-none-match", "*"),
        ("if-match", "*"),
        ("odata-version", "4.01"),
        ("odata-maxversion", "3.0"),
        ("odata-isolation", "snapshot"),
        ("isolation", "snapshot"),
        ("content-encoding", "gzip"),
        ("x-http-method", "DELETE"),
        ("x-http-method-override", "DELETE"),
        ("range", "bytes=0-1"),
        ("consistency", "Eventual"),
        ("accept", "application/json;odata.metadata=full"),
        ("accept", "application/json; odata.metadata=none"),
        ("accept", "application/xml"),
        ("accept", "application/json;IEEE754Compatible=true"),
    ],
)
def test_headers_that_change_meaning_are_named(world, header, value):
    answer = world.ask("GET", "accounts", headers={header: value})
    assert answer.status == 501
    assert header in error(answer)["message"].lower()


HEADERS = {
    name.partition(":")[0] for r in surface.ROUTES.values() for name in r.headers
}


@pytest.mark.parametrize("header", sorted(HEADERS))
def test_headers_are_honoured_on_their_routes_alone(world, header):
    """A header of meaning is 501 wherever its route does not list it."""
    for method, resource in DONE:
        honoured = surface.ROUTES[method, resource].headers
        if header in honoured or f"{header}:*" in honoured or resource == "$batch":
            continue
        answer = world.ask(method, PATHS[resource], {}, {header: 'W/"1"'})
        assert answer.status == 501, (method, resource)
        assert header in error(answer)["message"]


@pytest.mark.parametrize(
    "prefer",
    [
        "respond-async",
        "return=minimal",
        "return=representation",
        "odata.continue-on-error",
        "odata.allow-entityreferences",
        "odata.made-up=1",
        'odata.include-annotations="-*"',
        'odata.include-annotations="Microsoft.Dynamics.CRM.globalmetadataversion"',
        'odata.include-annotations="display.*"',
        'odata.maxpagesize=1 "',
    ],
)
def test_preferences_that_are_not_done_are_named(world, prefer):
    answer = world.ask("GET", "accounts", headers={"prefer": prefer})
    assert answer.status == 501


@pytest.mark.parametrize(
    "url",
    [
        "leads",
        "fetch",
        "workflows(00000000-0000-4000-8000-000000000001)",
        "RetrieveEntity(LogicalName='account')",
        "accounts?$select=address2_city",
        "accounts?$filter=address2_city eq 'x'",
        "accounts?$orderby=address2_city",
        "accounts?$expand=Account_Tasks",
        "accounts?$expand=primarycontactid($filter=firstname eq 'x')",
        "accounts?$expand=primarycontactid($made=1)",
        "accounts?$expand=primarycontactid/fullname",
        "accounts?$filter=tolower(name) eq 'x'",
        "accounts?$filter='x' eq name",
        "EntityDefinitions?$filter=startswith(SchemaName,'x')",
        f"accounts?$filter={CRM}ThisFiscalYear(PropertyName='createdon')",
        f"accounts?$filter={CRM}NextXDays(PropertyName='createdon',PropertyValue=1)",
        f"accounts?$filter={CRM}LastXMinutes(PropertyName='createdon',PropertyValue=1)",
        "accounts?$apply=groupby((name))&$orderby=name",
        f"accounts?$filter={CRM}Above(PropertyName='accountid',PropertyValue='x')",
        "accounts?$apply=groupby((name))/filter(name eq 'x')",
        f"{ACCOUNT}/Account_Tasks",
        f"{ACCOUNT}/primarycontactid/firstname",
        f"{ACCOUNT}/{CRM}Merge",
        f"{TABLE}?$select=IsBPFEntity",
        f"{TABLE}?$select=Nothing",
        "EntityDefinitions?$filter=IsBPFEntity eq true",
        f"{TABLE}/Attributes?$select=InheritsFrom",
        f"{TABLE}?$expand=Attributes($top=1)",
        f"{TABLE}/SchemaName",
    ],
)
def test_what_the_service_has_and_this_has_not_is_501(world, url):
    path, _, query = url.partition("?")
    answer = world.ask(
        "GET", f"{path}?{quote(query, safe='$=&(),')}" if query else path
    )
    assert answer.status == 501, answer


@pytest.mark.parametrize(
    ("url", "status"),
    [
        ("apex_nothings", 404),
        ("Accounts", 501),
        (f"{SET}?$select=apex_nothing", 400),
        (f"{SET}?$expand=apex_nothing", 400),
        (f"{SET}?$filter=apex_nothing eq 1", 400),
        (f"{TABLE}/Attributes?$select=MaxLength", 400),
        ("EntityDefinitions(LogicalName='apex_nothing')", 404),
        ("accounts?$top=1&$top=2", 400),
        ("accounts?$skip=1", 400),
        ("accounts?$expand=primarycontactid($count=true)", 400),
        ("accounts?$expand=createdby($top=1)", 400),
        ("accounts?$count=maybe", 400),
        ("accounts?$select=primarycontactid", 400),
    ],
)
def test_what_the_service_refuses_is_refused(world, url, status):
    path, _, query = url.partition("?")
    answer = world.ask(
        "GET", f"{path}?{quote(query, safe='$=&(),')}" if query else path
    )
    assert answer.status == status, answer


@pytest.mark.parametrize(
    ("url", "body"),
    [
        ("accounts", {"address2_city": "x"}),
        ("accounts", {"primarycontactid": {"firstname": "x"}}),
        ("accounts", {"account_primary_contact": []}),
        (
            "accounts",
            {"ownerid@odata.bind": f"/teams({'0' * 8}-0000-0000-0000-{'0' * 12})"},
        ),
        ("contacts", {"account_primary_contact@odata.bind": [ACCOUNT]}),
        (f"accounts/{CRM}DeleteMultiple", {"Targets": []}),
        ("ExecuteWorkflow", {}),
        (f"{TABLE}/Attributes", {"@odata.type": f"{CRM}FileAttributeMetadata"}),
        (
            "RelationshipDefinitions",
            {"@odata.type": f"{CRM}ManyToManyRelationshipMetadata"},
        ),
    ],
)
def test_what_cannot_be_written_here_is_501(world, url, body):
    before = world.records()
    assert world.ask("POST", url, body).status == 501
    assert world.records() == before


# A call of each message with all of the parameters that are done.
_LABEL = {"LocalizedLabels": [{"Label": "x", "LanguageCode": 1033}]}
CALLS: dict[str, dict[str, Any]] = {
    "AddSolutionComponent": {
        "ComponentId": system_tables.ADMINISTRATOR_ROLE,
        "ComponentType": 20,
        "SolutionUniqueName": "Default",
        "AddRequiredComponents": True,
        "DoNotIncludeSubcomponents": True,
    },
    "BulkDelete": {
        "QuerySet": [
            {
                "EntityName": "account",
                "Criteria": {
                    "Conditions": [
                        {
                            "AttributeName": "accountid",
                            "Operator": "In",
                            "Values": [
                                {"Value": table_definitions.metadata_id("nothing")}
                            ],
                        }
                    ]
                },
            }
        ],
        "JobName": "x",
        "ToRecipients": [{"activitypartyid": "x"}],
        "CCRecipients": [{"activitypartyid": "x"}],
        "StartDateTime": "2025-10-30T13:00:00Z",
        "RunNow": True,
    },
    "CreateEntities": {"Entities": [{"SchemaName": "apex_Thing"}]},
    "InsertOptionValue": {
        "AttributeLogicalName": "apex_color",
        "EntityLogicalName": "apex_campaignmetrics",
        "Label": _LABEL,
        "Value": 7,
    },
    "PublishAllXml": {},
    "PublishXml": {"ParameterXml": "<importexportxml/>"},
    "RetrieveAvailableLanguages": {},
    "RetrieveCurrentOrganization": {"AccessType": "'Default'"},
    "RetrieveMetadataChanges": {
        "Query": '{"Properties":{"PropertyNames":["SchemaName"]}}'
    },
    "RetrieveRolePrivilegesRole": {"RoleId": system_tables.ADMINISTRATOR_ROLE},
    "RetrieveTotalRecordCount": {"EntityNames": "['account']"},
    "RetrieveVersion": {},
    "WhoAmI": {},
}


@pytest.mark.parametrize("name", surface.MESSAGES)
def test_parameters_that_are_listed_as_done_are_done(world, name):
    """None of them answers 501, whatever else a call with all of them may lack."""
    method, route = surface.MESSAGES[name]
    given = CALLS[name]
    assert given.keys() == route.parameters
    if method == "POST":
        answer = world.ask("POST", name, given)
    else:
        listed = ",".join(f"{key}={value}" for key, value in given.items())
        answer = world.ask("GET", f"{name}({listed})")
    incomplete = {"CreateEntities": 400, "InsertOptionValue": 400}
    assert answer.status == incomplete.get(name, answer.status), answer
    assert answer.status < 300 or name in incomplete, answer
    for parameter in route.others:
        values = {**given, parameter: True}
        if method == "POST":
            answer = world.ask("POST", name, values)
            assert (answer.status, parameter in str(answer.body)) == (501, True)


@pytest.mark.parametrize("name", coverage_table.QUERY_FUNCTIONS)
def test_query_functions_are_done_or_501_as_the_coverage_table_says(world, name):
    """All that "Web API query functions" lists, in each form of its parameters."""
    answers = set()
    for column, values in (
        ("createdon", ""),
        ("createdby", ""),
        ("createdon", ",PropertyValue='2'"),
        ("createdon", ",PropertyValue='2025-10-30'"),
        ("numberofemployees", ",PropertyValues=['1','2']"),
    ):
        text = f"{CRM}{name}(PropertyName='{column}'{values})"
        answers.add(world.ask("GET", f"accounts?$filter={quote(text)}").status)
    assert answers <= {200, 400, 501}
    assert (200 in answers) is (name in query_functions.NAMES)
    assert set(coverage_table.QUERY_FUNCTIONS) >= query_functions.NAMES


@pytest.mark.parametrize(
    "request_line",
    [each for *_, requests in coverage_table.NOT_DONE for each in requests],
)
def test_what_the_coverage_table_calls_not_done_is_501(world, request_line):
    method, url, *body = request_line.split(" ", 2)
    sent = json.loads(body[0]) if body else {} if method != "GET" else None
    answer = world.ask(method, url, sent)
    assert answer.status == 501, answer
    assert error(answer)["message"]
