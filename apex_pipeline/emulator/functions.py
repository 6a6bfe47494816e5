"""Functions and actions that belong to no table."""

import json
import re
from collections.abc import Callable
from typing import Any
from uuid import uuid4

from apex_pipeline.emulator import (
    customization,
    definition_properties,
    definition_reads,
    guids,
    records,
    roles,
    solutions,
    web_api_errors,
)
from apex_pipeline.emulator.emulated_environment import EmulatedEnvironment
from apex_pipeline.emulator.places import Call
from apex_pipeline.emulator.schema import Table
from apex_pipeline.emulator.system_tables import ORGANIZATION_ID, ROOT_BUSINESS_UNIT
from apex_pipeline.emulator.table_definitions import ENGLISH, Definition
from apex_pipeline.emulator.wire import OperationRequest, Response

VERSION = "9.2.24073.198"
"""What RetrieveVersion tells; a version of the time of the documentation."""
_COUNT_SECONDS = 24 * 3600
_JSON_STRING = re.compile(r"'((?:[^']|'')*)'|(\"(?:[^\"\\\\]|\\\\.)*\")")

_ACCESS = re.compile(
    r"(Microsoft\.Dynamics\.CRM\.EndpointAccessType)?'(Default|Internet|Intranet)'"
).fullmatch

Function = Callable[[Call], Response]


def who_am_i(call: Call) -> Response:
    """WhoAmI; it takes no privilege."""
    return call.response(
        BusinessUnitId=ROOT_BUSINESS_UNIT,
        UserId=call.user.user_id,
        OrganizationId=ORGANIZATION_ID,
    )


def retrieve_version(call: Call) -> Response:
    return call.response(Version=VERSION)


def available_languages(call: Call) -> Response:
    """RetrieveAvailableLanguages: English alone."""
    return call.response(LocaleIds=[ENGLISH])


def current_organization(call: Call) -> Response:
    """RetrieveCurrentOrganization; AccessType is an EndpointAccessType."""
    access = dict(call.request.arguments()).get("AccessType", "")
    if not _ACCESS(access):
        raise web_api_errors.malformed_url(
            f"'{access[:100]}' is no EndpointAccessType."
        )
    name = call.env.storage.rows("SELECT name FROM organization")[0][0]
    origin = call.request.api.partition("/api/")[0]
    soap = f"{origin}/XRMServices/2011/Organization"
    endpoints = {
        "WebApplication": f"{origin}/",
        "OrganizationService": f"{soap}.svc",
        "OrganizationDataService": f"{soap}Data.svc",
    }
    names = ("FriendlyName", "UrlName", "UniqueName")
    detail = {
        "OrganizationId": ORGANIZATION_ID,
        **dict.fromkeys(names, name),
        "OrganizationVersion": VERSION,
        "State": "Enabled",
        "Endpoints": _pairs(endpoints),
    }
    return call.response(Detail=detail)


def _pairs(found: dict[str, Any]) -> dict[str, object]:
    """A collection of keys and values, as .NET's serializer writes it."""
    keys, values = list(found), list(found.values())
    return {"Count": len(keys), "IsReadOnly": False, "Keys": keys, "Values": values}


def _named_table(env: EmulatedEnvironment, name: str) -> Table:
    try:
        return env.table(name)
    except KeyError:
        raise web_api_errors.no_such_record("entity", name) from None


def role_privileges(call: Call) -> Response:
    """RetrieveRolePrivilegesRole(RoleId=…)."""
    role_id = dict(call.request.arguments()).get("RoleId", "").strip("'")
    if not guids.is_guid(role_id):
        raise web_api_errors.malformed_url("RoleId is missing or not a GUID.")
    stored = guids.store_guid(role_id)
    if records.version_of(call.env, call.env.table("role"), stored) is None:
        raise web_api_errors.no_such_record("role", role_id)
    return roles.retrieve_role_privileges(call, stored)


def total_record_count(call: Call) -> Response:
    """RetrieveTotalRecordCount: a snapshot that may be a day old.

    From "Count number of rows". It is taken when it is first asked for (chosen).
    """
    names = _json_argument(call.request, "EntityNames")
    if not isinstance(names, list):
        raise web_api_errors.malformed_url("EntityNames is not a collection.")
    counts = {}
    for name in names:
        table = _named_table(call.env, str(name))
        call.user.require("Read", table)
        counts[name] = _snapshot_count(call.env, table)
    return call.response(EntityRecordCountCollection=_pairs(counts))


def _snapshot_count(env: EmulatedEnvironment, table: Table) -> int:
    now = env.clock.now()
    kept = env.storage.document("count", table.name)
    if kept is None or now - kept["at"] > _COUNT_SECONDS:
        found = env.storage.select(table, "COUNT(*)")
        kept = {"at": now, "count": found[0][0]}
        env.storage.put_document("count", table.name, kept)
    return int(kept["count"])


def metadata_changes(call: Call) -> Response:
    """RetrieveMetadataChanges(Query=…), as far as Microsoft's Python SDK asks.

    Names, or all properties, of tables and columns that equal the conditions; no
    earlier state is compared.
    """
    env = call.env
    call.user.require_plain("prvReadEntity", "entity")
    query = _json_argument(call.request, "Query")
    if not isinstance(query, dict):
        raise web_api_errors.malformed_url("Query is not an object.")
    _know(query, "Query", "Criteria", "Properties", "AttributeQuery")
    inner = _object(query.get("AttributeQuery"))
    _know(inner, "AttributeQuery", "Criteria", "Properties")
    found = []
    for table in env.tables:
        view = definition_reads.table_view(env, table)
        if not _meets(view, query.get("Criteria"), "EntityMetadata"):
            continue
        shown = _chosen(view, query.get("Properties"), "EntityMetadata")
        if "Attributes" in shown:
            shown["Attributes"] = [
                _chosen(each, inner.get("Properties"), "StringAttributeMetadata")
                for each in view["Attributes"]  # type: ignore[attr-defined]  # a list
                if _meets(each, inner.get("Criteria"), "AttributeMetadata")
            ]
        found.append(shown)
    stamp = f"{env.storage.version}!{env.clock.instant()}"
    return call.response(
        ServerVersionStamp=stamp, DeletedMetadata=None, EntityMetadata=found
    )


def _know(given: dict[str, Any], what: str, *names: str) -> None:
    """Refuse what a query of definitions or records has beyond this."""
    for name, value in given.items():
        if (
            name not in names
            and "@" not in name
            and value not in (None, [], {}, False, "")
        ):
            raise web_api_errors.not_emulated(f"{name} of {what}.")


def _chosen(view: Definition, properties: object, kind: str) -> Definition:
    """The properties that are named; those that a column's type lacks are left out."""
    given = _object(properties)
    _know(given, "Properties", "PropertyNames", "AllProperties")
    names = given.get("PropertyNames")
    if not isinstance(names, list) or not names:
        return dict(view)
    unknown = [str(name) for name in names if name not in view]
    if unknown and kind == "EntityMetadata":
        raise definition_properties.missing(unknown[0], kind)
    always = ("@odata.type", "MetadataId", "LogicalName")
    return {
        name: value for name, value in view.items() if name in names or name in always
    } | {"HasChanged": None}


def _meets(view: Definition, criteria: object, kind: str) -> bool:
    for condition in _conditions(criteria):
        if condition.get("ConditionOperator") != "Equals":
            raise web_api_errors.not_emulated(
                "this condition of RetrieveMetadataChanges."
            )
        name = str(condition.get("PropertyName"))
        if name not in view:
            raise definition_properties.missing(name, kind)
        if str(view[name]) != str(_object(condition.get("Value")).get("Value")):
            return False
    return True


def _conditions(criteria: object) -> list[dict[str, Any]]:
    given = _object(criteria)
    _know(given, "Criteria", "Conditions", "FilterOperator")
    if given.get("FilterOperator", "And") != "And":
        raise web_api_errors.not_emulated(f"FilterOperator {given['FilterOperator']}.")
    return definition_properties.objects(given.get("Conditions") or [], "Conditions")


def _object(value: object) -> dict[str, Any]:
    """An object, or an empty one for null."""
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise web_api_errors.malformed_url("An object was expected in the parameter.")
    return value


def bulk_delete(call: Call) -> Response:
    """BulkDelete with a condition on the primary key; the job is done at once.

    Recipients and start of the job change nothing here.
    """
    env, user = call.env, call.user
    body = call.request.json("BulkDelete")
    for query in definition_properties.objects(body.get("QuerySet"), "QuerySet"):
        table = _named_table(env, str(query.get("EntityName")))
        for record_id in _listed_ids(table, query):
            if records.version_of(env, table, record_id) is not None:
                records.delete(env, user, table, record_id)
    return call.response(JobId=str(uuid4()))


def _listed_ids(table: Table, query: dict[str, Any]) -> list[str]:
    _know(query, "QuerySet", "EntityName", "Criteria", "ColumnSet")
    conditions = _conditions(query.get("Criteria"))
    if len(conditions) != 1 or (
        conditions[0].get("AttributeName") != table.primary_key
        or conditions[0].get("Operator") not in {"In", "Equal"}
    ):
        raise web_api_errors.not_emulated("BulkDelete by anything but the primary key.")
    values = definition_properties.objects(conditions[0].get("Values") or [], "Values")
    listed = [str(value.get("Value")) for value in values]
    if not all(guids.is_guid(each) for each in listed):
        raise web_api_errors.malformed_payload("BulkDelete", "Values are not GUIDs.")
    return [guids.store_guid(each.strip("{}")) for each in listed]


def _json_argument(request: OperationRequest, name: str) -> Any:
    """A parameter that is JSON; its strings may stand in single quotes, as in OData."""
    text = dict(request.arguments()).get(name, "")
    double = _JSON_STRING.sub(
        lambda found: found[2] or json.dumps(found[1].replace("''", "'")), text
    )
    try:
        return json.loads(double)
    except ValueError:
        raise web_api_errors.malformed_url(f"{name} is missing or not JSON.") from None


FUNCTIONS: dict[str, Function] = {
    "AddSolutionComponent": solutions.add_component,
    "BulkDelete": bulk_delete,
    "CreateEntities": customization.create_entities,
    "InsertOptionValue": customization.insert_option,
    "PublishAllXml": customization.publish,
    "PublishXml": customization.publish,
    "RetrieveAvailableLanguages": available_languages,
    "RetrieveCurrentOrganization": current_organization,
    "RetrieveMetadataChanges": metadata_changes,
    "RetrieveRolePrivilegesRole": role_privileges,
    "RetrieveTotalRecordCount": total_record_count,
    "RetrieveVersion": retrieve_version,
    "WhoAmI": who_am_i,
}
"""By the first segment of the path, as in `surface.MESSAGES`."""
