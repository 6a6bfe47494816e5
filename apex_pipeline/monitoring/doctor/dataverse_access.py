"""Checks of what the application may do in Dataverse: user, rights, table, a record.

The checks sign in as the application itself. Its role may not read roles and the
organization; for those they sign in as the administrator, if one is configured.
"""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar
from uuid import UUID

from apex_pipeline.dataverse import documented_answers
from apex_pipeline.dataverse.answer_shape import as_documented
from apex_pipeline.dataverse.client import DataverseClient
from apex_pipeline.dataverse.environment import connect
from apex_pipeline.dataverse.record_pages import records_of
from apex_pipeline.dataverse.retry_policy import RetryPolicy
from apex_pipeline.dataverse.throttling import Deadline
from apex_pipeline.errors import AuthError, RejectedError
from apex_pipeline.metrics import ENTITY_SET, PRIMARY_KEY, TABLE
from apex_pipeline.microsoft.http_answer import Expectation
from apex_pipeline.monitoring.doctor.check_results import (
    Measurement,
    failed,
    not_checked,
    ok,
    warning,
)
from apex_pipeline.monitoring.doctor.least_privilege import Rights, role
from apex_pipeline.monitoring.doctor.table_comparison import ADMINISTRATOR, Auditing
from apex_pipeline.provisioning.existing_state import FoundTable
from apex_pipeline.provisioning.inspection import STRONG, inspect, inspect_table
from apex_pipeline.settings import DataverseSettings

_Result = TypeVar("_Result")

_SECONDS = 4.0
_ONCE_MORE = RetryPolicy(attempts=2, first_wait=0.2, grace=0.0)
_PROBED = "apex_phase"

PRIVILEGES_LINE = "privileges"
TABLE_LINE = f"table {TABLE}"


@dataclass(frozen=True, slots=True)
class Access:
    """Requests as one application, each on its own connection."""

    settings: DataverseSettings
    cache: Path

    def ask(
        self, work: Callable[[DataverseClient, Deadline], Awaitable[_Result]]
    ) -> _Result:
        """Run `work` with a connected client, in bounded time.

        Raises:
            DataverseError: See the tree in `errors`.
        """

        async def run() -> _Result:
            async with connect(
                self.settings, self.cache, retry=_ONCE_MORE, request_timeout=_SECONDS
            ) as environment:
                return await work(environment.client, Deadline(_SECONDS))

        return asyncio.run(run())

    def get(
        self, path: str, what: str, expected: Expectation = documented_answers.RECORDS
    ) -> dict[str, Any]:
        """Read one document."""

        async def work(client: DataverseClient, deadline: Deadline) -> dict[str, Any]:
            return await client.get(
                path, what=what, deadline=deadline, headers=STRONG, expected=expected
            )

        return self.ask(work)


class EnvironmentProbes:
    """Probes of one environment; later ones use what earlier ones have read.

    Attributes:
        table: Definition that `look_at_table` has read.
    """

    def __init__(self, application: Access, administrator: Access | None) -> None:
        self._application = application
        self._administrator = administrator
        self._user = ""
        self._rights: Rights | None = None
        self.table: FoundTable | None = None

    def user(self) -> Measurement:
        """Call WhoAmI, which Dataverse answers only for an enabled user."""
        answer = self._application.get(
            "WhoAmI", "ask who we are", documented_answers.WHO_AM_I
        )
        with as_documented("ask who we are"):
            self._user = str(UUID(answer["UserId"]))
        return ok(f"user {self._user}, enabled")

    def privileges(self) -> Measurement:
        """Check the user's privileges, whichever role grants them."""
        path = (
            f"systemusers({self._user})/Microsoft.Dynamics.CRM.RetrieveUserPrivileges()"
        )
        what = "read the application user's privileges"
        try:
            answer = self._application.get(path, what, documented_answers.PRIVILEGES)
        except AuthError:
            if self._administrator is None:
                return warning(
                    "the service does not show the application its own privileges",
                    f"To check them, set an administrator in {ADMINISTRATOR}.",
                )
            answer = self._administrator.get(path, what, documented_answers.PRIVILEGES)
        with as_documented(what):
            rights = self._rights = Rights.read(answer["RolePrivileges"])
        missing = rights.missing()
        if not missing:
            return ok(rights.held)
        if rights.may_read_definitions and self._application.ask(inspect_table) is None:
            # Without the table, its privileges do not exist either.
            return not_checked(TABLE_LINE)
        return failed(f"lacks {', '.join(missing)}")

    def role(self) -> Measurement:
        """Check least privilege by the role, or by the user's rights if it is unreadable."""
        application = self._application.settings.client_id

        async def look(client: DataverseClient, deadline: Deadline) -> Any:
            return await inspect(client, application, deadline)

        try:
            found = (self._administrator or self._application).ask(look)
        except AuthError:
            found = None
        with as_documented(f"read the privileges of {TABLE}"):
            return role(self._rights, found)

    def look_at_table(self) -> Measurement:
        """Read the table's definition, if the role grants the two privileges for it."""
        if self._rights is not None and not self._rights.may_read_definitions:
            return not_checked(PRIVILEGES_LINE)
        self.table = self._application.ask(inspect_table)
        if self.table is None:
            return failed("does not exist")
        if self.table.entity_set != ENTITY_SET or self.table.table_type != "Standard":
            return failed(
                f"{self.table.table_type}, entity set {self.table.entity_set}",
                "`apex provision dataverse --plan` lists what needs a fix by hand.",
            )
        return ok(f"{self.table.table_type}, entity set {self.table.entity_set}")

    def organization_auditing(self) -> Auditing | None:
        """The organization's settings of auditing; None if they may not be read."""
        try:
            answer = (self._administrator or self._application).get(
                "organizations?$select=isauditenabled,auditretentionperiodv2",
                "read the organization",
            )
        except AuthError:
            return None
        with as_documented("read the organization"):
            row = answer["value"][0]
            days = row["auditretentionperiodv2"]
            return Auditing(
                bool(row["isauditenabled"]), None if days is None else int(days)
            )

    def write(self) -> Measurement:
        """Write a record's own value back to it; create is covered by the privileges.

        `If-Match` protects a change that someone else makes at the same time.
        """
        answer = self._application.get(
            f"{ENTITY_SET}?$select={PRIMARY_KEY},{_PROBED}&$top=1", "read a record"
        )
        with as_documented("read a record"):
            record = next(iter(records_of(answer, "read a record")), None)
            if record is None:
                return ok("no record to test with; create and write are granted")
            key = UUID(record[PRIMARY_KEY])
            version = str(record["@odata.etag"])
        return self._write_back(key, record.get(_PROBED), version)

    def _write_back(self, key: UUID, value: object, version: str) -> Measurement:

        async def patch(client: DataverseClient, deadline: Deadline) -> None:
            await client.write(
                "PATCH",
                f"{ENTITY_SET}({key})",
                {_PROBED: value},
                what="write back what a record holds",
                deadline=deadline,
                headers={"If-Match": version},
            )

        try:
            self._application.ask(patch)
        except RejectedError as error:
            if error.status != 412:
                raise
            return ok(f"record {key} was changed by someone else during the test")
        return ok(f"wrote record {key} back unchanged; create is granted")
