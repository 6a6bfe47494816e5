"""Verify that the application can do its work, without leaving a record behind."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from uuid import UUID

from apex_pipeline.column_types import DecimalNumber, Text, WholeNumber
from apex_pipeline.dataverse import documented_answers
from apex_pipeline.dataverse.answer_shape import as_documented
from apex_pipeline.dataverse.client import DataverseClient, DataverseTable
from apex_pipeline.dataverse.throttling import Deadline
from apex_pipeline.errors import (
    AuthError,
    DataverseError,
    RejectedError,
    SchemaDriftError,
)
from apex_pipeline.metrics import (
    COLUMNS,
    ENTITY_SET,
    PRIMARY_KEY,
    TABLE,
    CampaignMetric,
)
from apex_pipeline.provisioning.existing_state import (
    GLOBAL,
    METADATA_PRIVILEGES,
    TABLE_PRIVILEGES,
    Found,
)
from apex_pipeline.provisioning.inspection import STRONG, depths

TEST_KEY = UUID("a9e00000-0000-4000-8000-7e57ec0ed000")
"""Always the same, so the next run removes a record that an interrupted run left."""

_TABLE = DataverseTable(TABLE, ENTITY_SET, PRIMARY_KEY)
_FIRST_WAIT = 0.2
_LONGEST_WAIT = 10.0
# Statuses of a server that does not know a new table, column or role yet.
_NOT_YET = {400, 403, 404}


class _LackingError(AuthError):
    """The service does not show all privileges, at least not yet."""


async def until(attempt: Callable[[], Awaitable[bool]], seconds: float) -> bool:
    """Try at once, then with growing waits, until it succeeds or `seconds` are over."""
    end = time.monotonic() + seconds
    wait = _FIRST_WAIT
    while not await attempt():
        left = end - time.monotonic()
        if left <= 0:
            return False
        await asyncio.sleep(min(wait, left))
        wait = min(2 * wait, _LONGEST_WAIT)
    return True


async def verify(
    application: DataverseClient,
    administrator: DataverseClient | None,
    found: Found,
    deadline: Deadline,
    seconds: float,
) -> list[str]:
    """Try what a sync does and return the results in words.

    Only an administrator can delete the test record, so without one none is written.

    Raises:
        AuthError: The application lacks a privilege, or its role is not effective yet.
        DataverseError: See the tree in `errors`.
    """
    checks = [await _privileges(administrator or application, found, deadline, seconds)]
    columns = ",".join(column.dataverse for column in COLUMNS)

    async def read() -> None:
        await application.get(
            f"{ENTITY_SET}?$select={columns}&$top=1",
            what=f"read {TABLE}",
            deadline=deadline,
            headers=STRONG,
            expected=documented_answers.RECORDS,
        )

    await _patiently(read, seconds)
    checks.append(f"the application reads all {len(COLUMNS)} columns of {TABLE}")
    if administrator is None:
        checks.append("no test record: deleting it requires APEX_ADMIN_*")
        return checks

    async def write() -> None:
        await application.upsert(_TABLE, _test_record(), deadline)

    try:
        await _patiently(write, seconds)
    finally:
        await _remove_test_record(administrator, deadline)
    checks.append("the application wrote a test record, the administrator deleted it")
    return checks


async def _patiently(attempt: Callable[[], Awaitable[None]], seconds: float) -> None:
    """Retry what Dataverse may refuse until a new table or role is effective."""
    refusal: DataverseError | None = None

    async def succeeds() -> bool:
        nonlocal refusal
        try:
            await attempt()
        except (AuthError, RejectedError, SchemaDriftError) as error:
            if error.status not in _NOT_YET and not isinstance(error, _LackingError):
                raise
            refusal = error
            return False
        return True

    if not await until(succeeds, seconds) and refusal is not None:
        raise refusal


async def _privileges(
    client: DataverseClient, found: Found, deadline: Deadline, seconds: float
) -> str:
    """Check the user's privileges, whichever role grants them."""
    if found.user is None or found.table is None:
        raise RuntimeError("verification needs the user and the table")
    names = {each: name for name, each in found.metadata_privileges.items()}
    names |= {found.table.privileges[each]: each for each in TABLE_PRIVILEGES}
    path = (
        f"systemusers({found.user.id})/Microsoft.Dynamics.CRM.RetrieveUserPrivileges()"
    )

    async def ask() -> None:
        what = "read the application user's privileges"
        document = await client.get(
            path,
            what=what,
            deadline=deadline,
            headers=STRONG,
            expected=documented_answers.PRIVILEGES,
        )
        with as_documented(what):
            held = depths(document["RolePrivileges"])
        missing = [names[each] for each in names if held.get(each) != GLOBAL]
        if missing:
            raise _LackingError(
                f"According to Dataverse, the application user lacks "
                f"{', '.join(missing)} on {TABLE}."
            )

    await _patiently(ask, seconds)
    operations = ", ".join(TABLE_PRIVILEGES).lower()
    return (
        f"the service grants the application {operations} on {TABLE}, "
        f"and {' and '.join(METADATA_PRIVILEGES)}"
    )


def _test_record() -> CampaignMetric:
    """A record with a valid value in every column."""
    samples = {Text: "test", WholeNumber: 1, DecimalNumber: 0.01}
    fields = (
        f'"{c.dataverse}":{c.type.to_json(samples.get(type(c.type), time.time()))}'
        for c in COLUMNS
    )
    key = str(TEST_KEY)
    return CampaignMetric(key, key, f"{{{','.join(fields)}}}")


async def _remove_test_record(client: DataverseClient, deadline: Deadline) -> None:
    try:
        await client.delete(_TABLE, TEST_KEY, deadline)
    except SchemaDriftError as error:
        if error.status != 404:
            raise
