"""The documented success of every request; nothing else is an acknowledgement.

A proxy's sign-in page, a captive portal, or a gateway that queues requests answers with
2xx as well. So each request names its documented answer: exact status, headers, and
body. Anything else is a passing fault, and the work counts as not done.

Sources are pages of Microsoft Learn unless named. Nothing beyond their promises is
required. `OData-Version` is required, because every answer carries it (OData 4.0
Protocol, 8.1.5), except on a `$batch` as a whole, whose parts are checked one by one.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

from apex_pipeline.dataverse import batch
from apex_pipeline.dataverse.answers import Answer, Expectation

_JSON = "application/json"
_VERSION = "OData-Version 4.0"
_ENTITY_ID = "OData-EntityId"
_HEARTBEAT_REFUSAL = re.compile(rb"error|not found|\"ok\":\s*false", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Documented:
    """One documented success; call it with an answer to learn what that lacks.

    Attributes:
        statuses: The accepted statuses.
        headers: Header names as text, each with a test of the headers.
        media_type: The body's media type, if documented.
        shape: Whether the body is as documented.
        shape_text: The expected shape in words.
    """

    statuses: frozenset[int]
    headers: Mapping[str, Callable[[Mapping[str, str]], bool]] = field(
        default_factory=dict
    )
    media_type: str | None = None
    shape: Callable[[Answer], bool] = lambda answer: not answer.body.strip()
    shape_text: str = "an empty body"

    def __call__(self, answer: Answer) -> str | None:
        """Say what the answer lacks; None for the documented success."""
        if answer.status not in self.statuses:
            return f"status {' or '.join(map(str, sorted(self.statuses)))}"
        for name, is_given in self.headers.items():
            if not is_given(answer.headers):
                return f"the header {name}"
        if self.media_type is not None and answer.media_type != self.media_type:
            return f"the content type {self.media_type}"
        return None if self.shape(answer) else self.shape_text


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
        frozenset({200}), {_VERSION: _has_version}, _JSON, _object(members), text
    )


def _object(members: Mapping[str, Callable[[Any], bool]]) -> Callable[[Answer], bool]:
    def is_so(answer: Answer) -> bool:
        found = answer.document
        return (
            isinstance(found, dict)
            and bool(found)
            and "error" not in found
            and all(test(found.get(name)) for name, test in members.items())
        )

    return is_so


def _is_id(value: object) -> bool:
    try:
        return isinstance(value, str) and bool(UUID(value))
    except ValueError:
        return False


def _are_objects(value: object) -> bool:
    return isinstance(value, list) and all(isinstance(one, dict) for one in value)


def _is_https(value: object) -> bool:
    return isinstance(value, str) and value.startswith("https://")


def _is_seconds(value: object) -> bool:
    return (
        not isinstance(value, bool)
        and re.fullmatch(r"[1-9]\d*", str(value)) is not None
    )


def _is_text(value: object) -> bool:
    return isinstance(value, str) and bool(value)


UPSERTED_MULTIPLE = _no_content()
"""`UpsertMultiple` ("Use bulk operation messages"): no body, and no record ids."""

DONE = _no_content()
"""Actions without a result, updates, deletions, associations, `PublishXml`."""

CREATED = _no_content(_ENTITY_ID)
"""A record, table or column was created ("Create a table row using the Web API")."""

DOCUMENT = _document("a JSON object that is not an error")
"""Any read of one thing ("Retrieve a table row using the Web API")."""

RECORDS = _document("a list of records", value=_are_objects)
"""A collection, also of definitions ("Query data using the Web API")."""

WHO_AM_I = _document(
    "the ids of user, business unit and organization",
    UserId=_is_id,
    BusinessUnitId=_is_id,
    OrganizationId=_is_id,
)
"""`WhoAmI` ("WhoAmIResponse ComplexType")."""

PRIVILEGES = _document("a list of privileges", RolePrivileges=_are_objects)
"""`RetrieveUserPrivileges` and `RetrieveRolePrivilegesRole`."""

DEFINITION = _document("the definition of a table", MetadataId=_is_id)
"""One table's definition ("Query table definitions using the Web API")."""

COMPONENT_ADDED = _document("the id of the component", id=_is_id)
"""`AddSolutionComponent` ("AddSolutionComponentResponse ComplexType")."""


def _is_tracked(answer: Answer) -> bool:
    found = answer.document
    return _object({"value": _are_objects})(answer) and any(
        _is_text(found.get(link))
        for link in ("@odata.nextLink", "@odata.deltaLink")
        if isinstance(found, dict)
    )


TRACKED = Documented(
    frozenset({200}),
    {_VERSION: _has_version},
    _JSON,
    _is_tracked,
    "a list of records with a next or a delta link",
)
"""Change tracking ("Use change tracking to synchronize data"): the last page has the
link to what changes afterwards."""


def upserted(key: UUID) -> Documented:
    """A single upsert; it names the record by the key in its address ("Use Upsert")."""

    def is_named(headers: Mapping[str, str]) -> bool:
        return headers.get("odata-entityid", "").lower().endswith(f"({key})")

    return Documented(
        frozenset({204}),
        {_VERSION: _has_version, f"{_ENTITY_ID} of {key}": is_named},
    )


def batch_of(keys: Sequence[UUID]) -> Expectation:
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
                lacks = None if part.is_dataverse_error else "a Dataverse error"
            else:
                lacks = upserted(key)(part)
            if lacks is not None:
                return f"in part {number} {lacks}"
        return None

    return missing


TOKEN = Documented(
    frozenset({200}),
    shape=_object(
        {
            "access_token": _is_text,
            "token_type": lambda value: str(value).lower() == "bearer",
            "expires_in": _is_seconds,
        }
    ),
    shape_text="a bearer token and the seconds that it lasts",
)
"""The token endpoint (RFC 6749, 5.1)."""

DISCOVERY = Documented(
    frozenset({200}),
    shape=_object({"authorization_endpoint": _is_https, "token_endpoint": _is_https}),
    shape_text="the addresses of the authority's endpoints",
)
"""The authority's configuration document (OpenID Connect Discovery 1.0, 4.2)."""

MAIL_TAKEN = Documented(frozenset({202}))
"""Graph's `sendMail` ("user: sendMail")."""

REGISTRATION = Documented(
    frozenset({200}),
    media_type=_JSON,
    shape=_object({"passwordCredentials": _are_objects}),
    shape_text="the application's registration",
)
"""Graph's application ("Get application")."""

CARD_TAKEN = Documented(
    frozenset({200, 201, 202, 204}),
    shape=lambda answer: answer.body.strip() in {b"", b"1"},
    shape_text="an empty body",
)
"""A Teams workflow accepts a card with 202 and no body. The older connectors answered
`1` (observed)."""

PINGED = Documented(
    frozenset({200, 201, 202, 204}),
    shape=lambda answer: (
        not (answer.is_page or _HEARTBEAT_REFUSAL.search(answer.body) is not None)
    ),
    shape_text="a body without a complaint",
)
"""Any dead man's switch; they share no documentation. Healthchecks.io answers an unknown
check with 200 and `OK (not found)`, Dead Man's Snitch answers 202 with a text."""
