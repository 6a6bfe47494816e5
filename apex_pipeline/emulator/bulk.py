"""CreateMultiple, UpdateMultiple and UpsertMultiple.

From "Bulk operation messages": on a standard table each is one transaction, and any
error rolls all of it back. Which target was at fault is not part of the answer.
"""

from collections.abc import Callable
from urllib.parse import unquote

from apex_pipeline.emulator import (
    guids,
    record_addresses,
    records,
    targets,
    web_api_errors,
)
from apex_pipeline.emulator.emulated_environment import EmulatedEnvironment
from apex_pipeline.emulator.places import Call
from apex_pipeline.emulator.record_addresses import Address
from apex_pipeline.emulator.schema import Table
from apex_pipeline.emulator.targets import Draft
from apex_pipeline.emulator.wire import OperationRequest, Response


def run(call: Call) -> Response:
    """Carry out one bulk message."""
    drafts = [
        targets.read_target(call.env, call.table, target, typed=True)
        for target in _targets(call.table, call.request)
    ]
    return _MESSAGES[call.place.name](call, drafts)


def _targets(table: Table, request: OperationRequest) -> list[object]:
    found = request.json(table.entity_set).get("Targets")
    if not isinstance(found, list):
        raise web_api_errors.malformed_payload(
            table.entity_set, "The parameter 'Targets' is missing or not a collection."
        )
    if not found:
        # An empty collection is undocumented; refusing it is chosen.
        raise web_api_errors.WebApiError(
            400, "0x80040203", "Targets must not be empty."
        )
    return found


def _create_multiple(call: Call, drafts: list[Draft]) -> Response:
    """Answers with the ids in the order of the targets."""
    ids = records.create(call.env, call.user, call.table, drafts)
    return call.response(Ids=[guids.load_guid(each) for each in ids])


def _update_multiple(call: Call, drafts: list[Draft]) -> Response:
    """By primary key only; of targets with one id the first counts.

    The others are ignored silently, and records that are not there fail the request
    ("Bulk operation messages"). Codes, and the text for a missing id, are chosen.
    """
    env, user, table = call.env, call.user, call.table
    if any(draft.record_id is None for draft in drafts):
        raise web_api_errors.WebApiError(
            400,
            "0x80040203",
            "UpdateMultiple needs the primary key in each target; alternate keys are"
            " not supported.",
        )
    first = {str(draft.record_id): draft for draft in reversed(drafts)}
    missing = set(first) - records.existing(env, table, list(first))
    if missing:
        listed = [guids.load_guid(each) for each in first if each in missing]
        raise web_api_errors.no_such_records(
            table.definition["SchemaName"], ", ".join(listed)
        )
    records.update(env, user, table, list(first.values()), list(first))
    return Response(204, rows=len(drafts))


def _upsert_multiple(call: Call, drafts: list[Draft]) -> Response:
    """By primary key in the body, by `@odata.id`, or both kinds in one request.

    A target with neither is created under a new id (undocumented: chosen). The answer
    does not tell created from updated.
    """
    env, user, table = call.env, call.user, call.table
    addresses = [_address(table, draft) for draft in drafts]
    _refuse_duplicates(table, addresses)
    found = _locate(env, table, addresses)
    fresh: list[Draft] = []
    known: list[Draft] = []
    known_ids: list[str] = []
    for draft, address, record_id in zip(drafts, addresses, found, strict=True):
        if record_id is not None:
            pairs = frozenset(address.pairs()) if address else frozenset()
            known.append(draft.without(pairs) if pairs else draft)
            known_ids.append(record_id)
        else:
            fresh.append(_to_create(draft, address))
    if len(set(known_ids)) < len(known_ids):
        repeated = max(known_ids, key=known_ids.count)
        raise web_api_errors.duplicate_targets(table.name, guids.load_guid(repeated))
    if fresh:
        records.create(env, user, table, fresh)
    if known:
        records.update(env, user, table, known, known_ids)
    return Response(204, rows=len(drafts))


def _address(table: Table, draft: Draft) -> Address | None:
    if draft.address is not None:
        path = unquote(draft.address).rpartition("/")[2]
        entity_set, _, predicate = path.partition("(")
        if entity_set != table.entity_set or not predicate.endswith(")"):
            raise web_api_errors.malformed_url(
                f"Resource not found for the segment '{entity_set}'."
            )
        return record_addresses.read_address(table, predicate[:-1])
    return None if draft.record_id is None else Address(draft.record_id)


def _refuse_duplicates(table: Table, addresses: list[Address | None]) -> None:
    seen: set[tuple[object, ...]] = set()
    for address in filter(None, addresses):
        if address.identity() in seen:
            shown = address.record_id and guids.load_guid(address.record_id)
            raise web_api_errors.duplicate_targets(table.name, shown or address.pairs())
        seen.add(address.identity())


def _locate(
    env: EmulatedEnvironment, table: Table, addresses: list[Address | None]
) -> list[str | None]:
    """The primary key of each target's record, where there is one."""
    by_id = [each.record_id for each in addresses if each and each.record_id]
    present = records.existing(env, table, by_id) if by_id else set()
    found: list[str | None] = []
    for address in addresses:
        if address is not None and address.record_id is None:
            found.append(record_addresses.resolve(env, table, address))
        else:
            known = address is not None and address.record_id in present
            found.append(address.record_id if address and known else None)
    return found


def _to_create(draft: Draft, address: Address | None) -> Draft:
    """Key columns come from `@odata.id`; in the body as well they fail the request.

    Observed: 400 with 0x80040216 when the record is created, 204 when it is updated.
    """
    if address is None or address.record_id is not None:
        record_id = draft.record_id if address is None else address.record_id
        return Draft(draft.columns, draft.values, record_id)
    pairs = address.pairs()
    if not frozenset(pairs).isdisjoint(draft.columns):
        raise web_api_errors.unexpected()
    return draft.with_values(pairs)


_MESSAGES: dict[str, Callable[[Call, list[Draft]], Response]] = {
    "CreateMultiple": _create_multiple,
    "UpdateMultiple": _update_multiple,
    "UpsertMultiple": _upsert_multiple,
}
