"""`$expand` on the platform's own tables: a user's roles, a solution's publisher.

From "Join tables using OData". Custom tables have no relationships here.
"""

from apex_pipeline.emulator import errors, projections, roles
from apex_pipeline.emulator.codecs import quote
from apex_pipeline.emulator.environment import Environment
from apex_pipeline.emulator.filters import Sql
from apex_pipeline.emulator.odata import parse_expand
from apex_pipeline.emulator.queries import Expander
from apex_pipeline.emulator.schema import Table
from apex_pipeline.emulator.security import Principal
from apex_pipeline.emulator.storage import quoted
from apex_pipeline.emulator.wire import Request


def expander(
    env: Environment, user: Principal, table: Table, request: Request
) -> Expander | None:
    """A function from a record's key to the members that `$expand` adds.

    Raises:
        WebApiError: There is no such navigation property, or the user may not read
            what it leads to.
    """
    text = request.options().get("$expand")
    if not text:
        return None
    joins = [
        _join(env, user, table, name, inner.get("$select", ""))
        for name, inner in parse_expand(text)
    ]
    return lambda record_id: "".join(join(record_id) for join in joins)


def _join(
    env: Environment, user: Principal, table: Table, name: str, select: str
) -> Expander:
    if (table.name, name) in roles.ASSOCIATIONS:
        other = env.table(roles.ASSOCIATIONS[table.name, name][0])
        user.require("Read", other)

        def collection(record_id: str) -> str:
            _, condition = roles.related(env, table, name, record_id)
            shown = ",".join(_objects(env, other, select, condition))
            return f",{quote(name)}:[{shown}]"

        return collection
    column = table.columns.get(name)
    if column is None or column.shown_as == name:
        raise errors.no_such_property(name, table.name)
    listed = column.definition["Targets"]
    other_name = str(listed[0]) if isinstance(listed, list) and listed else ""
    if other_name not in {each.name for each in env.tables}:
        raise errors.not_emulated(f"$expand of {name}.")
    target = env.table(other_name)
    user.require("Read", target)
    condition = _referenced(table, name, target)

    def single(record_id: str) -> str:
        found = _objects(env, target, select, (condition, [record_id]))
        return f",{quote(name)}:{found[0] if found else 'null'}"

    return single


def _referenced(table: Table, name: str, target: Table) -> str:
    return " ".join(
        (
            quoted(target.primary_key),
            "= (SELECT",
            quoted(name),
            "FROM",
            quoted(table.name),
            "WHERE",
            quoted(table.primary_key),
            "= ?)",
        )
    )


def _objects(env: Environment, table: Table, select: str, condition: Sql) -> list[str]:
    projection = projections.project(table, select)
    show = projection.shower()
    rows = env.storage.select(table, projection.sql(), *condition)
    return [f"{{{show(row)}}}" for row in rows]
