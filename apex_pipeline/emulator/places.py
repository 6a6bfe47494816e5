"""Leads a URL to the kind of address that it is."""

import re
from dataclasses import dataclass
from typing import cast
from urllib.parse import unquote

from apex_pipeline.emulator import (
    record_addresses,
    relationships,
    web_api_errors,
    wire,
)
from apex_pipeline.emulator.emulated_environment import EmulatedEnvironment
from apex_pipeline.emulator.record_addresses import Address
from apex_pipeline.emulator.relationships import Navigation
from apex_pipeline.emulator.schema import Table
from apex_pipeline.emulator.security import Principal
from apex_pipeline.emulator.surface import BOUND_MESSAGES, MESSAGES, ROUTES
from apex_pipeline.emulator.table_definitions import CRM
from apex_pipeline.emulator.wire import OperationRequest, Response

_KEYED = re.compile(r"([^()]+)(?:\((.*)\))?", re.DOTALL).fullmatch
# A slash between quotes does not split.
_SEGMENT = re.compile(r"(?:[^/']|'(?:[^']|'')*')+")
BULK_MESSAGES = ("CreateMultiple", "UpdateMultiple", "UpsertMultiple")
PARTS = {
    "Attributes": "column",
    "Keys": "key",
    "Privileges": "part",
    "OneToManyRelationships": "part",
    "ManyToOneRelationships": "part",
    "ManyToManyRelationships": "part",
}
_METADATA_ROOTS = {
    "EntityDefinitions": ("definition", "definitions"),
    "RelationshipDefinitions": ("relationship", "relationships"),
}


@dataclass(frozen=True, slots=True)
class Place:
    """Where a request leads.

    Attributes:
        resource: The kind of address: with the method, a key of `surface.ROUTES`.
        table: The table of a record or a collection.
        address: How a record is named.
        name: A message, a column or a navigation property.
        navigation: The navigation property, where it is one.
        key: What stands in parentheses after the name.
        segments: The whole path, decoded.
    """

    resource: str
    table: Table | None = None
    address: Address | None = None
    name: str = ""
    navigation: Navigation | None = None
    key: str | None = None
    segments: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Call:
    """One operation on its way: who asks for what, and where it leads."""

    env: EmulatedEnvironment
    user: Principal
    request: OperationRequest
    place: Place

    @property
    def table(self) -> Table:
        return cast("Table", self.place.table)

    @property
    def address(self) -> Address:
        """How the record is named."""
        return cast("Address", self.place.address)

    @property
    def step(self) -> Navigation:
        """The navigation property that the place ends with."""
        return cast("Navigation", self.place.navigation)

    def record_url(self, key: str) -> str:
        """The address of a record of the table."""
        return f"{self.request.api}/{self.table.entity_set}({key})"

    def answer(self, context: str, **members: object) -> Response:
        """A JSON object with its context."""
        url = f"{self.request.api}/$metadata{context}"
        return wire.json_response({"@odata.context": url, **members})

    def response(self, **members: object) -> Response:
        """The answer of the message that the place is."""
        kind = f"{CRM}{self.place.name}Response"
        return self.answer(f"#{kind}", **members)


def name_and_key(segment: str) -> tuple[str, str | None]:
    """`accounts(1)` as its name and what stands in parentheses, None without any."""
    match = _KEYED(segment)
    if match is None:
        raise web_api_errors.no_such_segment(segment[:200])
    return match[1], match[2]


def find(env: EmulatedEnvironment, request: OperationRequest) -> Place:
    """Where a request leads."""
    segments = tuple(_SEGMENT.findall(unquote(request.path).strip("/")))
    if not segments:
        return Place("service document")
    name, key = name_and_key(segments[0])
    place = Place("message", name=name, segments=segments, key=key)
    if name == "$batch" and len(segments) == 1:
        return Place("$batch")
    if name in _METADATA_ROOTS:
        return _definition_place(name, segments)
    if name in MESSAGES:
        if len(segments) > 1:
            raise web_api_errors.not_emulated(f"the path {'/'.join(segments)[:200]}.")
        return place
    if not env.has_set(name):
        raise _unknown_segment(name)
    return _data_place(env, request, segments)


def _unknown_segment(name: str) -> web_api_errors.WebApiError:
    """Names with a prefix are customizations, and those are all here; others may exist."""
    if "_" in name.strip("_") and not name.startswith(("$", "msdyn")):
        return web_api_errors.no_such_segment(name)
    return web_api_errors.not_emulated(f"the message or table {name[:100]}.")


def _data_place(
    env: EmulatedEnvironment, request: OperationRequest, segments: tuple[str, ...]
) -> Place:
    name, key = name_and_key(segments[0])
    table = env.table_of_set(name)
    rest = segments[1:]
    if key is None:
        return _collection_place(request, table, rest)
    address = record_addresses.read_address(table, key)
    if not rest:
        return Place("record", table, address, key=key)
    return _below_record(env, table, address, rest)


def _collection_place(
    request: OperationRequest, table: Table, rest: tuple[str, ...]
) -> Place:
    options = request.options()
    if not rest:
        if request.method == "GET" and "$apply" in options:
            return Place("aggregation", table)
        if request.method == "GET" and (
            "odata.track-changes" in request.preferences() or "$deltatoken" in options
        ):
            return Place("changes", table)
        return Place("records", table)
    if rest == ("$count",):
        return Place("count", table)
    message = rest[0].removeprefix(CRM)
    if len(rest) == 1 and request.method == "POST":
        if message == rest[0]:
            raise web_api_errors.unresolved_parameters()
        if message == "DeleteMultiple":
            # "If you use DeleteMultiple on a standard table, you get the error …".
            reason = "DeleteMultiple has not yet been implemented."
            raise web_api_errors.WebApiError(501, "0x80004001", reason)
        if message in BULK_MESSAGES and table.takes_bulk:
            return Place("bulk message", table, name=message)
    if rest[0].startswith(CRM) and message in BULK_MESSAGES:
        raise web_api_errors.wrong_verb(request.url())
    raise web_api_errors.not_emulated(f"the path {'/'.join(rest)[:200]} after a table.")


def _below_record(
    env: EmulatedEnvironment, table: Table, address: Address, rest: tuple[str, ...]
) -> Place:
    name, key = name_and_key(rest[0])
    last = rest[1:]
    if name.startswith(CRM) and not last:
        message = name.removeprefix(CRM)
        if (table.name, message) not in BOUND_MESSAGES:
            raise web_api_errors.not_emulated(f"the message {message} of {table.name}.")
        return Place(f"{table.name} {message}", table, address, message)
    column = table.shown(name)
    if column is not None and key is None and not last:
        return Place("property", table, address, column.name)
    found = relationships.navigation(env, table, name)
    if found is None:
        if (table.name, name) in BOUND_MESSAGES:
            raise web_api_errors.unresolved_parameters()
        if table.custom and column is None:
            raise web_api_errors.no_such_segment(name)
        raise web_api_errors.not_emulated(f"the path segment {name} after a record.")
    kind = "reference" if last == ("$ref",) else "related record"
    if last not in {(), ("$ref",)} or (key is not None and not last):
        raise web_api_errors.not_emulated(
            f"the path {'/'.join(rest)[:200]} after a record."
        )
    many = "s" if found.many else ""
    return Place(f"{kind}{many}", table, address, name, found, key)


def _definition_place(root: str, segments: tuple[str, ...]) -> Place:
    """`EntityDefinitions(…)/Attributes(…)/Microsoft.Dynamics.CRM.…`."""
    _, key = name_and_key(segments[0])
    single, many = _METADATA_ROOTS[root]
    rest = list(segments[1:])
    cast = ""
    if root == "RelationshipDefinitions" and rest and rest[0].startswith(CRM):
        cast = rest.pop(0)
    if not rest:
        resource = many if key is None else single
        return Place(resource, name=cast, key=key, segments=segments)
    if key is None and rest == ["$count"] and ("GET", f"{many} count") in ROUTES:
        return Place(f"{many} count")
    if key is not None and root == "EntityDefinitions":
        return _part_place(segments, rest)
    raise web_api_errors.not_emulated(f"the path {'/'.join(segments)[:200]}.")


def _part_place(segments: tuple[str, ...], rest: list[str]) -> Place:
    name, key = name_and_key(rest.pop(0))
    if name == "Attributes" and rest and rest[0].startswith(CRM):
        rest.pop(0)
    if name in PARTS and not rest:
        resource = PARTS[name] if key is not None else f"{PARTS[name]}s"
        return Place(resource, name=name, key=key, segments=segments)
    raise web_api_errors.not_emulated(f"the path {'/'.join(segments)[:200]}.")
