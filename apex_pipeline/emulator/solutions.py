"""Solutions: what is filed into them, at its making or afterwards.

From "Create and update table definitions using the Web API" (the header), and
"AddSolutionComponent Action" and "SolutionComponent EntityType" of the Web API
reference. Subcomponents are not listed by themselves (chosen).
"""

from collections.abc import Mapping
from uuid import uuid4

from apex_pipeline.emulator import guids, records, web_api_errors
from apex_pipeline.emulator.emulated_environment import EmulatedEnvironment
from apex_pipeline.emulator.places import Call
from apex_pipeline.emulator.wire import OperationRequest, Response

TABLE = 1
COLUMN = 2
RELATIONSHIP = 10
ROLE = 20


def file_component(
    env: EmulatedEnvironment,
    request: OperationRequest,
    kind: int,
    definition: Mapping[str, object],
) -> None:
    """Add a new component to the solution that the request names, if it names one.

    The MSCRM.SolutionUniqueName header; CreateEntities takes a query option. That an
    unknown solution is a 400 is chosen.
    """
    name = request.headers.get("mscrm.solutionuniquename") or request.options().get(
        "SolutionUniqueName"
    )
    if name:
        _add(env, _unmanaged(env, name), kind, str(definition["MetadataId"]))


def add_component(call: Call) -> Response:
    """AddSolutionComponent; adding what is in it already is no mistake (observed).

    That it takes the privilege to write solutions, and the errors' codes, are chosen.
    """
    env = call.env
    call.user.require("Write", env.table("solution"))
    body = call.request.json("AddSolutionComponent")
    required = (
        *("ComponentId", "ComponentType", "SolutionUniqueName"),
        "AddRequiredComponents",
    )
    object_id, kind = str(body.get("ComponentId")), body.get("ComponentType")
    missing = [
        f"The parameter '{name}' is missing." for name in required if name not in body
    ]
    if not guids.is_guid(object_id):
        missing.append(f"Cannot convert the literal '{object_id}' to type 'Edm.Guid'.")
    if missing:
        raise web_api_errors.malformed_payload("AddSolutionComponent", missing[0])
    if not _exists(env, kind, object_id):
        raise web_api_errors.no_such_record("component", object_id)
    solution = _unmanaged(env, str(body["SolutionUniqueName"]))
    return call.response(id=_add(env, solution, kind, object_id))


def _exists(env: EmulatedEnvironment, kind: object, object_id: str) -> bool:
    if kind == TABLE:
        known = {str(each.definition["MetadataId"]).lower() for each in env.tables}
        return object_id.lower() in known
    if kind == ROLE:
        stored = guids.store_guid(object_id)
        return records.version_of(env, env.table("role"), stored) is not None
    raise web_api_errors.not_emulated(f"components of type {kind}.")


def _unmanaged(env: EmulatedEnvironment, name: str) -> str:
    """The stored id of a solution to which something can be added."""
    statement = "SELECT solutionid, ismanaged FROM solution WHERE uniquename = ?"
    found = env.storage.rows(statement, (name,))
    if not found:
        raise web_api_errors.invalid_definition(
            f"There is no solution with the unique name {name}."
        )
    if found[0][1]:
        raise web_api_errors.invalid_definition(f"The solution {name} is managed.")
    return str(found[0][0])


def _add(env: EmulatedEnvironment, solution: str, kind: object, object_id: str) -> str:
    """The id of the component record, old or new."""
    known = env.storage.rows(
        "SELECT solutioncomponentid FROM solutioncomponent"
        " WHERE solutionid = ? AND objectid = ?",
        (solution, guids.store_guid(object_id)),
    )
    if known:
        return guids.load_guid(known[0][0])
    component = str(uuid4())
    values = {
        "solutioncomponentid": component,
        "solutionid": guids.load_guid(solution),
        "objectid": object_id,
        "componenttype": kind,
    }
    env.insert("solutioncomponent", values)
    return component
