"""`$expand`: records that navigation properties lead to, nested to any depth.

From "Join tables using OData", which says which inner options go with which kind of
navigation property.
"""

from collections.abc import Callable
from dataclasses import dataclass
from urllib.parse import quote

from apex_pipeline.emulator import (
    codecs,
    expand_clauses,
    filters,
    guids,
    paging,
    projections,
    relationships,
    web_api_errors,
)
from apex_pipeline.emulator.emulated_environment import EmulatedEnvironment
from apex_pipeline.emulator.expand_clauses import Clause
from apex_pipeline.emulator.filters import Scope
from apex_pipeline.emulator.places import Call
from apex_pipeline.emulator.relationships import Navigation
from apex_pipeline.emulator.schema import Table
from apex_pipeline.emulator.security import Principal
from apex_pipeline.emulator.storage import quoted
from apex_pipeline.emulator.wire import OperationRequest

OF_ONE = frozenset({"$select", "$expand"})
_REFUSED = frozenset({"$skip", "$count", "$search", "$levels"})
OF_MANY = OF_ONE | {"$filter", "$orderby", "$top"}
_READABLE = "(),'/:@$;="
_MOST = 15
_MOST_RECORDS = 5000
_LIMITED = (
    "Only $select and $filter clause can be provided while doing $expand on many-to-one"
    " relationship or nested one-to-many relationship."
)


@dataclass(frozen=True, slots=True)
class Expansion:
    """What `$expand` adds: to the context, and to each record by its key."""

    contexts: tuple[str, ...]
    of: Callable[[str], str]


def expand(call: Call, table: Table) -> Expansion:
    text = call.request.options().get("$expand")
    if text is None or call.request.method == "PATCH":
        # "The $expand query option will be ignored" on update.
        return Expansion((), lambda _: "")
    clauses = expand_clauses.parse(text)
    if sum(clause.count() for clause in clauses) > _MOST:
        raise web_api_errors.malformed_url(
            f"At most {_MOST} $expand options are allowed."
        )
    return _Joins(call.env, call.user, call.request).all_of(
        table, clauses, nested=False
    )


@dataclass(frozen=True, slots=True)
class _Joins:
    env: EmulatedEnvironment
    user: Principal
    request: OperationRequest

    def all_of(self, table: Table, clauses: list[Clause], *, nested: bool) -> Expansion:
        joins = [self._join(table, clause, nested=nested) for clause in clauses]
        return Expansion(
            tuple(context for join in joins for context in join.contexts),
            lambda record_id: "".join(f",{join.of(record_id)}" for join in joins),
        )

    def _join(self, table: Table, clause: Clause, *, nested: bool) -> Expansion:
        step = relationships.needed(self.env, table, clause.name)
        self.user.require("Read", step.other)
        self._check(step, clause, nested=nested)
        inner = self.all_of(step.other, clause.expand(), nested=True)
        projection = projections.project(step.other, clause.options.get("$select", ""))
        context = projection.context(*inner.contexts) or "()"
        nesting = nested or "$expand" in clause.options
        show = projection.shower(
            self.env, self.request.annotations(), etag=step.many and not nesting
        )
        key_at = len(projection.columns) + 1
        size = self.request.preferences().get("odata.maxpagesize", "")

        def members(record_id: str) -> str:
            rows = self._rows(step, clause, projection, record_id)
            if nesting and size.isdigit() and len(rows) > int(size):
                raise web_api_errors.not_emulated(
                    "pages of collections in a nested $expand."
                )
            shown = [f"{{{show(row[:key_at])}{inner.of(row[key_at])}}}" for row in rows]
            if not step.many:
                return f"{codecs.quote(step.name)}:{shown[0] if shown else 'null'}"
            return (
                f"{codecs.quote(step.name)}:[{','.join(shown)}],"
                f"{codecs.quote(step.name + '@odata.nextLink')}:"
                + codecs.quote(self._link(step, clause, record_id))
            )

        return Expansion((f"{clause.name}{context}",), members)

    def _check(self, step: Navigation, clause: Clause, *, nested: bool) -> None:
        for name in clause.options:
            if name in _REFUSED:
                raise web_api_errors.malformed_url(
                    f"{name} is not supported within $expand."
                )
            if name not in OF_MANY or (name == "$filter" and not step.many):
                raise web_api_errors.not_emulated(
                    f"{name} within $expand of {step.name}."
                )
            alone = nested or "$expand" in clause.options or not step.many
            if name in {"$orderby", "$top"} and alone:
                raise web_api_errors.malformed_url(_LIMITED)
        if step.link is not None and (nested or "$expand" in clause.options):
            raise web_api_errors.malformed_url(
                f"Nested $expand is not supported with the many-to-many {step.name}."
            )

    def _rows(
        self,
        step: Navigation,
        clause: Clause,
        projection: projections.Projection,
        record_id: str,
    ) -> list[tuple[str, ...]]:
        scope = Scope(self.env, self.user, step.other)
        condition, values = step.of_record(record_id)
        if "$filter" in clause.options:
            text, aliases = clause.options["$filter"], self.request.aliases()
            sql, more = filters.written(text, aliases, scope)
            condition, values = f"{condition} AND {sql}", [*values, *more]
        top = paging.whole(clause.options.get("$top", str(_MOST_RECORDS)), "$top")
        order = paging.parse_order(clause.options.get("$orderby", ""), scope)
        return self.env.storage.select(
            step.other,
            f"{projection.sql()}, {scope.name}.{quoted(step.other.primary_key)}",
            condition,
            values,
            order=order.sql(),
            limit=min(top or 0, _MOST_RECORDS),
        )

    def _link(self, step: Navigation, clause: Clause, record_id: str) -> str:
        """Where the same records are by themselves, with the same options."""
        record = f"{step.table.entity_set}({guids.load_guid(record_id)})"
        options = "&".join(
            f"{name}={quote(value, safe=_READABLE)}"
            for name, value in clause.options.items()
        )
        url = f"{self.request.api}/{record}/{step.name}"
        return f"{url}?{options}" if options else url
