"""The documented success of every request; nothing else is an acknowledgement.

Why each is exact: `microsoft/documented_success.py`.

Sources are pages of Microsoft Learn unless named. Nothing beyond their promises is
required. `OData-Version` is required, because every answer carries it (OData 4.0
Protocol, 8.1.5), except on a `$batch` as a whole, whose parts are checked one by one.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any
from uuid import UUID

from apex_pipeline.dataverse import batch
from apex_pipeline.dataverse.answers import is_dataverse_error
from apex_pipeline.microsoft.documented_success import (
    JSON,
    Documented,
    are_objects,
    is_text,
    json_object,
)
from apex_pipeline.microsoft.http_answer import Answer, Expectation

_VERSION = "OData-Version 4.0"
_ENTITY_ID = "OData-EntityId"


def _has_version(headers: Mapping[str, str]) -> bool:
    # A proxy that relays a header twice joins its values.
    versions = headers.get("odata-version", "").split(",")
    return {each.strip() for each in versions} == {"4.0"}


def _has_entity_id(headers: Mapping[str, str]) -> bool:
    return bool(headers.get("odata-entityid"))


def _no_content(*names: str) -> Documented:
    tests = {_VERSION: _has_version, _ENTITY_ID: _has_entity_id}
    return Documented(
        frozenset({204}), {name: tests[name] for name in (_VERSION, *names)}
    )


def _document(text: str, **members: Callable[[Any], bool]) -> Documented:
    """A JSON object with these members that is not an error."""
    return Documented(
        frozenset({200}), {_VERSION: _has_version}, JSON, json_object(members), text
    )


def _is_id(value: object) -> bool:
    try:
        return isinstance(value, str) and bool(UUID(value))
    except ValueError:
        return False


UPSERTED_MULTIPLE = _no_content()
"""`UpsertMultiple` ("Use bulk operation messages"): no body, and no record ids."""

DONE = _no_content()
"""Actions without a result, updates, deletions, associations, `PublishXml`."""

CREATED = _no_content(_ENTITY_ID)
"""A record, table or column was created ("Create a table row using the Web API")."""

DOCUMENT = _document("a JSON object that is not an error")
"""Any read of one thing ("Retrieve a table row using the Web API")."""

RECORDS = _document("a list of records", value=are_objects)
"""A collection, also of definitions ("Query data using the Web API")."""


def _is_count(value: object) -> bool:
    if not isinstance(value, list) or len(value) != 1 or not are_objects(value):
        return False
    count = value[0].get("records")
    return isinstance(count, int) and not isinstance(count, bool) and count >= 0


COUNT = _document("the number of records", value=_is_count)
"""`$apply=aggregate($count as records)` ("Aggregate data using OData")."""

WHO_AM_I = _document(
    "the ids of user, business unit and organization",
    UserId=_is_id,
    BusinessUnitId=_is_id,
    OrganizationId=_is_id,
)
"""`WhoAmI` ("WhoAmIResponse ComplexType")."""

PRIVILEGES = _document("a list of privileges", RolePrivileges=are_objects)
"""`RetrieveUserPrivileges` and `RetrieveRolePrivilegesRole`."""

DEFINITION = _document("the definition of a table", MetadataId=_is_id)
"""One table's definition ("Query table definitions using the Web API")."""

COMPONENT_ADDED = _document("the id of the component", id=_is_id)
"""`AddSolutionComponent` ("AddSolutionComponentResponse ComplexType")."""


def _is_tracked(answer: Answer) -> bool:
    found = answer.document
    return json_object({"value": are_objects})(answer) and any(
        is_text(found.get(link))
        for link in ("@odata.nextLink", "@odata.deltaLink")
        if isinstance(found, dict)
    )


TRACKED = Documented(
    frozenset({200}),
    {_VERSION: _has_version},
    JSON,
    _is_tracked,
    "a list of records with a next or a delta link",
)
"""Change tracking ("Use change tracking to synchronize data"): the last page has the
link to what changes afterwards."""


def upserted(key: str) -> Documented:
    """A single upsert; it names the record by the key in its address ("Use Upsert")."""

    def is_named(headers: Mapping[str, str]) -> bool:
        return headers.get("odata-entityid", "").lower().endswith(f"({key})")

    return Documented(
        frozenset({204}),
        {_VERSION: _has_version, f"{_ENTITY_ID} of {key}": is_named},
    )


def batch_of(keys: Sequence[str]) -> Expectation:
    """A `$batch` of single upserts, sent with `odata.continue-on-error`.

    It has one part per upsert, in the same order: the documented success, or a Dataverse
    error ("Execute batch operations using the Web API").
    """

    def missing(answer: Answer) -> str | None:
        if answer.status != 200:
            return "status 200"
        try:
            parts = batch.decode(answer.headers.get("content-type", ""), answer.body)
        except batch.MalformedBatchError as error:
            return f"the parts of a $batch ({error})"
        if len(parts) != len(keys):
            return f"one part for each of {len(keys)} operations; it has {len(parts)}"
        for number, (key, part) in enumerate(zip(keys, parts, strict=True), 1):
            if part.status >= 400:
                lacks = None if is_dataverse_error(part) else "an error of Dataverse"
            else:
                lacks = upserted(key)(part)
            if lacks is not None:
                return f"in part {number} {lacks}"
        return None

    return missing
