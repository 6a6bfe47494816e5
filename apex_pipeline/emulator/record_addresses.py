"""Reads how URLs name records, and finds them."""

from dataclasses import dataclass
from urllib.parse import unquote

from apex_pipeline.emulator import guids, odata, web_api_errors
from apex_pipeline.emulator.codecs import Stored
from apex_pipeline.emulator.emulated_environment import EmulatedEnvironment
from apex_pipeline.emulator.schema import AlternateKey, Table
from apex_pipeline.emulator.storage import quoted
from apex_pipeline.emulator.syntax_tree import Literal

# Characters with which a key in a URL does not work ("Define alternate keys").
_FORBIDDEN = frozenset("/<>*%&:\\?+")


def referenced(env: EmulatedEnvironment, url: str, allowed: list[str]) -> str:
    """The primary key of the record that a URL names, relative or not."""
    path = unquote(url)
    start, _, predicate = path.partition("(")
    name = start.rpartition("/")[2]
    if not env.has_set(name) and "_" not in name:
        raise web_api_errors.not_emulated(f"the table {name[:100]}.")
    table = env.table_of_set(name)
    if table.name not in allowed:
        raise web_api_errors.malformed_url(
            f"'{url[:200]}' is no {' or '.join(allowed)}."
        )
    predicate = predicate.rpartition(")")[0]
    found = resolve(env, table, read_address(table, predicate))
    if found is None:
        raise web_api_errors.no_such_record(table.name, predicate)
    return found


@dataclass(frozen=True, slots=True)
class Address:
    """A record as a URL names it: by primary key, or by an alternate key's values."""

    record_id: str | None
    key: AlternateKey | None = None
    values: tuple[Stored, ...] = ()

    def pairs(self) -> dict[str, Stored]:
        """The key columns with their values."""
        return dict(zip(self.key.columns, self.values, strict=True)) if self.key else {}

    def identity(self) -> tuple[object, ...]:
        """Equal for addresses that the database cannot tell apart."""
        if self.record_id is not None:
            return (self.record_id,)
        folded = (v.lower() if isinstance(v, str) else v for v in self.values)
        return (self.key and self.key.name, *folded)


def read_address(table: Table, predicate: str) -> Address:
    """Read what stands between the parentheses of a resource path, percent-decoded.

    From "Use an alternate key to reference a record": every column of the key, in any
    order; and from "Define alternate keys": characters with which it does not work.
    """
    parsed = odata.parse_key(predicate)
    if isinstance(parsed, Literal):
        return Address(guids.store_guid(parsed.text))
    if list(parsed) == [table.primary_key]:
        literal = parsed[table.primary_key]
        return Address(str(_key_value(table, table.primary_key, literal)))
    for name in [each for each in parsed if each.endswith("_value")]:
        # "Use an alternate key to reference a record": lookups as `_x_value`.
        parsed[name[1:-6]] = parsed.pop(name)
    for key in table.keys:
        if set(key.columns) == set(parsed) and key.status == "Active":
            values = tuple(
                _key_value(table, name, parsed[name]) for name in key.columns
            )
            return Address(None, key, values)
    raise web_api_errors.key_not_declared(table.name)


def _key_value(table: Table, name: str, literal: Literal) -> Stored:
    if literal.edm == "Edm.String" and _FORBIDDEN.intersection(literal.text):
        raise odata.malformed_key()
    try:
        return table.columns[name].codec.literal(literal)
    except (TypeError, ValueError, ArithmeticError):
        raise web_api_errors.key_not_declared(table.name) from None


def resolve(env: EmulatedEnvironment, table: Table, address: Address) -> str | None:
    """The primary key of the record at an address, or None."""
    if address.record_id is not None:
        found = env.storage.of_record(
            table, quoted(table.primary_key), address.record_id
        )
        return found[0] if found else None
    pairs = address.pairs()
    condition = " AND ".join(f"{quoted(name)} = ?" for name in pairs)
    key, values = quoted(table.primary_key), tuple(pairs.values())
    rows = env.storage.select(table, key, condition, values)
    return rows[0][0] if rows else None
