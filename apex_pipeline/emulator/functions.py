"""Functions and actions that belong to no table."""

import json
import re
from collections.abc import Callable
from typing import Any
from uuid import uuid4

from apex_pipeline.emulator import (
    customization,
    definition_checks,
    definitions,
    errors,
    filters,
    guids,
    metadata,
    odata,
    records,
    roles,
    solutions,
    wire,
)
from apex_pipeline.emulator.definitions import Definition
from apex_pipeline.emulator.environment import Environment
from apex_pipeline.emulator.schema import Table
from apex_pipeline.emulator.security import Principal
from apex_pipeline.emulator.system_tables import ORGANIZATION_ID, ROOT_BUSINESS_UNIT
from apex_pipeline.emulator.wire import Request, Response

_COUNT_SECONDS = 24 * 3600
_ARGUMENT = re.compile(r"(\w+)\s*=\s*([^,()]+)")
_MESSAGES = ("Create", "CreateMultiple", "Update", "UpdateMultiple", "Delete")

Function = Callable[[Environment, Principal, Request], Response]


def who_am_i(env: Environment, user: Principal, request: Request) -> Response:
    """WhoAmI; it takes no privilege."""
    del env
    _require_method(request, "GET")
    return wire.json_response(
        {
            "@odata.context": _context(request, "WhoAmIResponse"),
            "BusinessUnitId": ROOT_BUSINESS_UNIT,
            "UserId": user.user_id,
            "OrganizationId": ORGANIZATION_ID,
        }
    )


def role_privileges(env: Environment, user: Principal, request: Request) -> Response:
    """RetrieveRolePrivilegesRole(RoleId=…)."""
    _require_method(request, "GET")
    role_id = _arguments(request).get("RoleId", "").strip("'")
    if not guids.is_guid(role_id):
        raise errors.malformed_url("RoleId is missing or not a GUID.")
    stored = guids.store_guid(role_id)
    if records.version_of(env, env.table("role"), stored) is None:
        raise errors.no_such_record("role", role_id)
    return roles.retrieve_role_privileges(env, user, request, stored)


def total_record_count(env: Environment, user: Principal, request: Request) -> Response:
    """RetrieveTotalRecordCount: a snapshot that may be a day old.

    From "Count number of rows". It is taken when it is first asked for (chosen).
    """
    _require_method(request, "GET")
    names = _json_argument(request, "EntityNames")
    if not isinstance(names, list):
        raise errors.malformed_url("EntityNames is not a collection.")
    counts = []
    for name in names:
        try:
            table = env.table(str(name))
        except KeyError:
            raise errors.no_such_record("entity", str(name)) from None
        user.require("Read", table)
        counts.append(_snapshot_count(env, table))
    return wire.json_response(
        {
            "@odata.context": _context(request, "RetrieveTotalRecordCountResponse"),
            "EntityRecordCountCollection": {
                "Count": len(names),
                "IsReadOnly": False,
                "Keys": names,
                "Values": counts,
            },
        }
    )


def _snapshot_count(env: Environment, table: Table) -> int:
    now = env.clock.now()
    kept = env.storage.document("count", table.name)
    if kept is None or now - kept["at"] > _COUNT_SECONDS:
        found = env.storage.select(table, "COUNT(*)")
        kept = {"at": now, "count": found[0][0]}
        env.storage.put_document("count", table.name, kept)
    return int(kept["count"])


def message_filters(env: Environment, user: Principal, request: Request) -> Response:
    """sdkmessagefilters: which messages a table supports; never UpsertMultiple.

    From "Bulk operation messages".
    """
    del user
    _require_method(request, "GET")
    options = request.options()
    rows: list[dict[str, Any]] = [
        {
            "@odata.etag": 'W/"1"',
            "sdkmessagefilterid": definitions.metadata_id(
                "filter", table.name, message
            ),
            "primaryobjecttypecode": table.name,
            "sdkmessageid": {"name": message},
        }
        for table in env.tables
        for message in _MESSAGES
        if table.definition["IsCustomEntity"] or not message.endswith("Multiple")
    ]
    if condition := options.get("$filter"):
        aliases = {name: text for name, text in options.items() if name[0] == "@"}
        node = odata.parse_filter(condition, aliases)
        rows = [row for row in rows if filters.matches(node, row)]
    shown = [
        {name: row[name] for name in ("@odata.etag", "sdkmessagefilterid")}
        for row in rows
    ]
    context = f"{request.api}/$metadata#sdkmessagefilters(sdkmessagefilterid)"
    return wire.json_response({"@odata.context": context, "value": shown})


def metadata_changes(env: Environment, user: Principal, request: Request) -> Response:
    """RetrieveMetadataChanges(Query=…), as far as Microsoft's Python SDK asks.

    Names, or all properties, of tables and columns that equal the conditions; no
    earlier state is compared.
    """
    _require_method(request, "GET")
    user.require_plain("prvReadEntity", "entity")
    query = _json_argument(request, "Query")
    if not isinstance(query, dict):
        raise errors.malformed_url("Query is not an object.")
    found = []
    for table in env.tables:
        view = metadata.table_view(table)
        if not _meets(view, query.get("Criteria")):
            continue
        shown = _chosen(view, query.get("Properties"))
        if "Attributes" in shown:
            inner = _object(query.get("AttributeQuery"))
            shown["Attributes"] = [
                _chosen(each, inner.get("Properties"))
                for each in view["Attributes"]  # type: ignore[attr-defined]  # a list
                if _meets(each, inner.get("Criteria"))
            ]
        found.append(shown)
    return wire.json_response(
        {
            "@odata.context": _context(request, "RetrieveMetadataChangesResponse"),
            "ServerVersionStamp": f"{env.storage.version}!{env.clock.instant()}",
            "DeletedMetadata": None,
            "EntityMetadata": found,
        }
    )


def _chosen(view: Definition, properties: object) -> Definition:
    names = _object(properties).get("PropertyNames")
    if not isinstance(names, list) or not names:
        return dict(view)
    always = ("@odata.type", "MetadataId", "LogicalName")
    return {
        name: value for name, value in view.items() if name in names or name in always
    } | {"HasChanged": None}


def _meets(view: Definition, criteria: object) -> bool:
    for condition in definition_checks.objects(
        _object(criteria).get("Conditions") or [], "Conditions"
    ):
        if condition.get("ConditionOperator") != "Equals":
            raise errors.not_emulated("this condition of RetrieveMetadataChanges.")
        wanted = str(_object(condition.get("Value")).get("Value"))
        if str(view.get(str(condition.get("PropertyName")))) != wanted:
            return False
    return True


def _object(value: object) -> dict[str, Any]:
    """An object, or an empty one for null."""
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise errors.malformed_url("An object was expected in the parameter.")
    return value


def bulk_delete(env: Environment, user: Principal, request: Request) -> Response:
    """BulkDelete with a condition on the primary key; the job is done at once."""
    _require_method(request, "POST")
    body = request.json("BulkDelete")
    tables = {table.name: table for table in env.tables}
    for query in definition_checks.objects(body.get("QuerySet"), "QuerySet"):
        name = str(query.get("EntityName"))
        if name not in tables:
            raise errors.no_such_record("entity", name)
        for record_id in _listed_ids(tables[name], query):
            if records.version_of(env, tables[name], record_id) is not None:
                records.delete(env, user, tables[name], record_id)
    return wire.json_response(
        {
            "@odata.context": _context(request, "BulkDeleteResponse"),
            "JobId": str(uuid4()),
        }
    )


def _listed_ids(table: Table, query: dict[str, Any]) -> list[str]:
    conditions = definition_checks.objects(
        _object(query.get("Criteria")).get("Conditions") or [], "Conditions"
    )
    if len(conditions) != 1 or (
        conditions[0].get("AttributeName") != table.primary_key
        or conditions[0].get("Operator") not in {"In", "Equal"}
    ):
        raise errors.not_emulated("BulkDelete by anything but the primary key.")
    values = definition_checks.objects(conditions[0].get("Values") or [], "Values")
    listed = [str(value.get("Value")) for value in values]
    if not all(guids.is_guid(each) for each in listed):
        raise errors.malformed_payload("BulkDelete", "Values are not GUIDs.")
    return [guids.store_guid(each.strip("{}")) for each in listed]


def _arguments(request: Request) -> dict[str, str]:
    """Arguments between the parentheses, with `@name` aliases looked up."""
    options = request.options()
    inner = request.decoded_path().partition("(")[2]
    found = {}
    for match in _ARGUMENT.finditer(inner):
        value = match[2].strip()
        found[match[1]] = options.get(value, "") if value[0] == "@" else value
    return found


def _json_argument(request: Request, name: str) -> Any:
    try:
        return json.loads(_arguments(request).get(name, ""))
    except ValueError:
        raise errors.malformed_url(f"{name} is missing or not JSON.") from None


def _require_method(request: Request, method: str) -> None:
    if request.method != method:
        raise errors.method_not_allowed(request.method)


def _context(request: Request, kind: str) -> str:
    return f"{request.api}/$metadata#Microsoft.Dynamics.CRM.{kind}"


FUNCTIONS: dict[str, Function] = {
    "AddSolutionComponent": solutions.add_component,
    "BulkDelete": bulk_delete,
    "CreateEntities": customization.create_entities,
    "PublishAllXml": customization.publish,
    "PublishXml": customization.publish,
    "RetrieveMetadataChanges": metadata_changes,
    "RetrieveRolePrivilegesRole": role_privileges,
    "RetrieveTotalRecordCount": total_record_count,
    "WhoAmI": who_am_i,
    "sdkmessagefilters": message_filters,
}
"""By the first segment of the path."""
