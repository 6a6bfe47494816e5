"""The emulated organisation: its tables, its clock, its file."""

import logging
import sqlite3
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace

from apex_pipeline.emulator import guids, web_api_errors
from apex_pipeline.emulator.campaign_metrics import CAMPAIGN_METRICS
from apex_pipeline.emulator.clock import Clock
from apex_pipeline.emulator.schema import (
    AlternateKey,
    EmulatedColumn,
    Table,
    make_table,
    new_table,
)
from apex_pipeline.emulator.storage import Storage, joined, quoted
from apex_pipeline.emulator.system_tables import (
    FIRST_ROWS,
    PLAIN_PRIVILEGES,
    SDK_MESSAGES,
    SYSTEM_TABLES,
    message_id,
    plain_privilege_id,
)
from apex_pipeline.emulator.table_definitions import DEPTHS, metadata_id, privileges

_FORMAT = 1
# The name of the snapshot of it.
_START = "the start"

_log = logging.getLogger(__name__)


class StateFormatError(Exception):
    """The file was written by another version of the emulator."""


class EmulatedEnvironment:
    """Tables by name and by entity set, kept in step with the file."""

    def __init__(
        self,
        storage: Storage,
        clock: Clock,
        *,
        empty: bool = False,
        key_index_seconds: float = 0,
    ) -> None:
        """Take up what the file holds; a new file gets the tables of the start.

        Args:
            storage: The file.
            clock: Time.
            empty: Whether to start without the campaign metrics table.
            key_index_seconds: How long the index of a new alternate key takes.
        """
        self.storage = storage
        self.clock = clock
        self.key_index_seconds = key_index_seconds
        self._empty = empty
        self._start: tuple[dict[str, Table], dict[str, Table]] | None = None
        self._tables: dict[str, Table] = {}
        self._sets: dict[str, Table] = {}
        written = storage.document("state", "format")
        if written not in {None, _FORMAT}:
            raise StateFormatError(
                f"the state is of format {written}; this emulator writes {_FORMAT}"
            )
        if written is None:
            with storage.transaction():
                self._seed()
        else:
            self.reload()
            with storage.transaction():
                self._catch_up()

    def _catch_up(self) -> None:
        """Add the platform's tables that the file was written without."""
        added = set()
        for posted in SYSTEM_TABLES:
            name = str(posted["SchemaName"]).lower()
            if name not in self._tables:
                self.add_table(new_table(posted))
                added.add(name)
        for name, values in FIRST_ROWS:
            if name in added:
                self.insert(name, values)
        if "sdkmessagefilter" in added:
            for table in list(self._tables.values()):
                self._list_messages(table)

    def reload(self) -> None:
        """Take up the definitions that the file holds."""
        self._tables.clear()
        self._sets.clear()
        for stored in self.storage.documents("table").values():
            self._keep(
                make_table(stored["definition"], stored["attributes"], stored["keys"])
            )

    def reset(self) -> None:
        """Back to the start: no records, no tables but the first ones."""
        if self._start is not None:
            self.storage.restore(_START)
            # A table in use does not change, so none has to be read again.
            tables, sets = self._start
            self._tables, self._sets = dict(tables), dict(sets)
            return
        with self.storage.transaction():
            for table in list(self._tables.values()):
                self.drop_table(table)
            self.storage.execute("DELETE FROM link")
            for kind in ("count", "autonumber"):
                for name in self.storage.documents(kind):
                    self.storage.delete_document(kind, name)
            self._seed()
        self._start = dict(self._tables), dict(self._sets)
        self.storage.snapshot(_START)

    def _seed(self) -> None:
        """Make the tables and records that are there from the start."""
        for posted in (
            SYSTEM_TABLES if self._empty else (*SYSTEM_TABLES, CAMPAIGN_METRICS)
        ):
            self.add_table(new_table(posted))
        for name in PLAIN_PRIVILEGES:
            named = {"privilegeid": plain_privilege_id(name), "name": name}
            depths = {f"canbe{depth.lower()}": True for depth in DEPTHS}
            self.insert("privilege", {**named, **depths})
        for table_name, values in FIRST_ROWS:
            self.insert(table_name, values)
        for table in list(self._tables.values()):
            self._list_messages(table)
        self.storage.put_document("state", "format", _FORMAT)

    def insert(self, name: str, values: Mapping[str, object]) -> None:
        """Insert a record of the platform's own; values are as JSON has them."""
        table = self._tables[name]
        now = self.clock.instant()
        stored = {
            "createdon": now,
            "modifiedon": now,
            "statecode": 0,
            "statuscode": 1,
            "versionnumber": self.storage.take_versions(1),
            **{
                key: table.columns[key].codec.read(each) for key, each in values.items()
            },
        }
        columns = ", ".join(quoted(key) for key in stored)
        marks = ", ".join("?" * len(stored))
        statement = joined("INSERT INTO", quoted(name), f"({columns}) VALUES ({marks})")
        self.storage.execute(statement, tuple(stored.values()))

    @property
    def tables(self) -> list[Table]:
        """All tables, with alternate keys in their present state."""
        return [self.table(name) for name in list(self._tables)]

    def table(self, name: str) -> Table:
        """The table of a logical name; raises KeyError."""
        return self._with_due_indexes(self._tables[name])

    def has_set(self, entity_set: str) -> bool:
        """Whether there is an entity set of this name."""
        return entity_set in self._sets

    def table_of_set(self, entity_set: str) -> Table:
        found = self._sets.get(entity_set)
        if found is None:
            raise web_api_errors.no_such_segment(entity_set)
        return self._with_due_indexes(found) if found.keys else found

    def add_table(self, table: Table) -> None:
        """Make a new table, with its privileges."""
        self.storage.create_table(table)
        self.save(table)
        for each in privileges(table.definition):
            shown = ("PrivilegeId", "Name", *(f"CanBe{depth}" for depth in DEPTHS))
            self.insert("privilege", {name.lower(): each[name] for name in shown})
        if table.custom and "sdkmessagefilter" in self._tables:
            self._list_messages(table)

    def _list_messages(self, table: Table) -> None:
        """The messages that a table supports ("Bulk operation messages")."""
        where = "FROM sdkmessagefilter WHERE primaryobjecttypecode = ?"
        listed = self.storage.rows(f"SELECT 1 {where}", (table.name,))
        for message in () if listed else SDK_MESSAGES:
            if table.takes_bulk or not message.endswith("Multiple"):
                values = {
                    "sdkmessagefilterid": metadata_id("filter", table.name, message),
                    "primaryobjecttypecode": table.name,
                    "sdkmessageid": message_id(message),
                }
                self.insert("sdkmessagefilter", values)

    def drop_table(self, table: Table) -> None:
        """Remove a table with its records and its privileges."""
        self.storage.drop_table(table)
        self.storage.delete_document("table", table.name)
        self._tables.pop(table.name)
        self._sets.pop(table.entity_set)
        if "privilege" not in self._tables:
            return
        if "sdkmessagefilter" in self._tables:
            self.storage.execute(
                "DELETE FROM sdkmessagefilter WHERE primaryobjecttypecode = ?",
                (table.name,),
            )
        if "solutioncomponent" in self._tables:
            self.leave_solutions(guids.store_guid(str(table.definition["MetadataId"])))
        for each in privileges(table.definition):
            stored = (guids.store_guid(str(each["PrivilegeId"])),)
            self.storage.execute("DELETE FROM privilege WHERE privilegeid = ?", stored)
            self.storage.execute("DELETE FROM link WHERE target = ?", stored)

    def leave_solutions(self, object_id: str) -> None:
        """Take what is no more, by its stored id, out of every solution."""
        self.storage.execute(
            "DELETE FROM solutioncomponent WHERE objectid = ?", (object_id,)
        )

    def drop_column(self, table: Table, column: EmulatedColumn) -> None:
        """Remove a column with its values, unless an alternate key needs it."""
        if any(column.name in each.columns for each in table.keys):
            raise web_api_errors.still_needed(column.name)
        self.storage.drop_column(table, column)
        columns = {n: each for n, each in table.columns.items() if each is not column}
        self.save(replace(table, columns=columns, plans={}))

    def save(self, table: Table) -> None:
        """Take a changed definition into use."""
        self.storage.save_definition(table)
        self._keep(table)

    def _keep(self, table: Table) -> None:
        self._tables[table.name] = table
        self._sets[table.entity_set] = table

    def _with_due_indexes(self, table: Table) -> Table:
        """Finish the indexes whose time has come.

        Pending, then InProgress for the second half of the time, then Active; Failed
        where records violate the key ("Define alternate keys for a table").
        """
        if all(key.status in {"Active", "Failed"} for key in table.keys):
            return table
        keys = tuple(self._advanced(table, key) for key in table.keys)
        if keys != table.keys:
            table = replace(table, keys=keys, plans={})
            self.save(table)
        return table

    def _advanced(self, table: Table, key: AlternateKey) -> AlternateKey:
        if key.status in {"Active", "Failed"}:
            return key
        waited = self.clock.now() - float(str(key.definition["_requested_at"]))
        if waited < self.key_index_seconds:
            halfway = waited >= self.key_index_seconds / 2
            return _with_status(key, "InProgress" if halfway else "Pending")
        try:
            self.storage.create_index(table, key)
        except sqlite3.IntegrityError:
            return _with_status(key, "Failed")
        return _with_status(key, "Active")

    @contextmanager
    def writing(self) -> Iterator[None]:
        """A transaction over records and definitions."""
        tables, sets = dict(self._tables), dict(self._sets)
        try:
            with self.storage.transaction():
                yield
        except BaseException:
            self._tables, self._sets = dict(tables), dict(sets)
            raise


def _with_status(key: AlternateKey, status: str) -> AlternateKey:
    if key.status == status:
        return key
    _log.info("alternate key %s is %s", key.name, status)
    return replace(
        key, status=status, definition=key.definition | {"EntityKeyIndexStatus": status}
    )
