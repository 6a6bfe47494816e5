"""Send the requests that carry out one change of a plan."""

from collections.abc import Awaitable, Callable
from typing import TypeVar

from apex_pipeline.dataverse import documented_answers
from apex_pipeline.dataverse.client import DataverseClient
from apex_pipeline.dataverse.throttling import Deadline
from apex_pipeline.metrics import COLUMNS, TABLE
from apex_pipeline.microsoft.http_answer import Expectation
from apex_pipeline.provisioning.desired_state import Change, ChangeKind
from apex_pipeline.provisioning.existing_state import (
    GLOBAL,
    PREFIX,
    PUBLISHER,
    ROLE,
    SOLUTION,
    Found,
)
from apex_pipeline.provisioning.inspection import STRONG, TABLE_PATH
from apex_pipeline.provisioning.table_definition import (
    audited,
    column_definition,
    table_definition,
)

_IN_SOLUTION = {"MSCRM.SolutionUniqueName": SOLUTION}
_TABLE_COMPONENT = 1
_ROLE_COMPONENT = 20
_PUBLISH = (
    f"<importexportxml><entities><entity>{TABLE}</entity></entities></importexportxml>"
)


async def carry_out(
    client: DataverseClient, change: Change, found: Found, deadline: Deadline
) -> None:
    """Make one change; `found` must contain what the change depends on.

    Raises:
        TransientError: The change may have been made; read before you retry.
        DataverseError: See the tree in `errors`.
    """
    await _STEPS[change.kind](_Writer(client, change, deadline), change, found)


_T = TypeVar("_T")


def _there(value: _T | None) -> _T:
    if value is None:
        raise RuntimeError("a change came before what it depends on")
    return value


class _Writer:
    """Sends the requests of one change."""

    def __init__(
        self, client: DataverseClient, change: Change, deadline: Deadline
    ) -> None:
        self.client = client
        self.deadline = deadline
        self.what = f"make the {change.text}"

    async def make(
        self, path: str, body: dict[str, object], headers: dict[str, str] | None = None
    ) -> None:
        await self.post(path, body, headers, documented_answers.CREATED)

    async def post(
        self,
        path: str,
        body: dict[str, object],
        headers: dict[str, str] | None = None,
        expected: Expectation = documented_answers.DONE,
    ) -> None:
        await self.client.write(
            "POST",
            path,
            body,
            what=self.what,
            deadline=self.deadline,
            headers=headers,
            expected=expected,
        )


async def _make_publisher(writer: _Writer, change: Change, found: Found) -> None:
    del change, found
    await writer.make(
        "publishers",
        {
            "uniquename": PUBLISHER,
            "friendlyname": "Apex",
            "customizationprefix": PREFIX,
        },
    )


async def _make_solution(writer: _Writer, change: Change, found: Found) -> None:
    del change
    publisher = _there(found.publisher)
    await writer.make(
        "solutions",
        {
            "uniquename": SOLUTION,
            "friendlyname": "Apex Metrics",
            "version": "1.0.0.0",
            "publisherid@odata.bind": f"/publishers({publisher.id})",
        },
    )


async def _make_table(writer: _Writer, change: Change, found: Found) -> None:
    del change
    await writer.make(
        "EntityDefinitions", table_definition(found.language), _IN_SOLUTION
    )


async def _make_column(writer: _Writer, change: Change, found: Found) -> None:
    column = next(each for each in COLUMNS if each.dataverse == change.subject)
    await writer.make(
        f"{TABLE_PATH}/Attributes",
        column_definition(column, found.language),
        _IN_SOLUTION,
    )


async def _change_settings(writer: _Writer, change: Change, found: Found) -> None:
    """Replace the whole definition, since parts cannot be changed, then publish it.

    Reads show the old definition until it is published. So after an interruption between
    the two steps, the next plan contains the change again.
    """
    del change, found
    definition = await writer.client.get(
        TABLE_PATH,
        what=f"read {TABLE}",
        deadline=writer.deadline,
        headers=STRONG,
        expected=documented_answers.DEFINITION,
    )
    definition.pop("@odata.context", None)
    await writer.client.write(
        "PUT",
        TABLE_PATH,
        definition | {"ChangeTrackingEnabled": True, "IsAuditEnabled": audited()},
        what=writer.what,
        deadline=writer.deadline,
        headers=_IN_SOLUTION | {"MSCRM.MergeLabels": "true"},
    )
    await writer.post("PublishXml", {"ParameterXml": _PUBLISH})


async def _make_role(writer: _Writer, change: Change, found: Found) -> None:
    del change
    await writer.make(
        "roles",
        {
            "name": ROLE,
            "businessunitid@odata.bind": f"/businessunits({found.business_unit})",
        },
        _IN_SOLUTION,
    )


async def _file(writer: _Writer, change: Change, found: Found) -> None:
    """Add a component to our solution; repeating it is harmless.

    Source: "AddSolutionComponent Action" and "SolutionComponent EntityType", Microsoft
    Learn.
    """
    is_table = change.subject == TABLE
    component = _there(found.table).id if is_table else _there(found.role).id
    await writer.post(
        "AddSolutionComponent",
        {
            "ComponentId": component,
            "ComponentType": _TABLE_COMPONENT if is_table else _ROLE_COMPONENT,
            "SolutionUniqueName": SOLUTION,
            "AddRequiredComponents": False,
            "DoNotIncludeSubcomponents": False,
        },
        expected=documented_answers.COMPONENT_ADDED,
    )


async def _grant(writer: _Writer, change: Change, found: Found) -> None:
    del change
    role = _there(found.role)
    await writer.post(
        f"roles({role.id})/Microsoft.Dynamics.CRM.AddPrivilegesRole",
        {
            "Privileges": [
                {
                    "PrivilegeId": privilege,
                    "Depth": GLOBAL,
                    "BusinessUnitId": found.business_unit,
                }
                for privilege in found.missing_privileges()
            ]
        },
    )


async def _make_user(writer: _Writer, change: Change, found: Found) -> None:
    await writer.make(
        "systemusers",
        {
            "applicationid": change.subject,
            "businessunitid@odata.bind": f"/businessunits({found.business_unit})",
        },
    )


async def _assign(writer: _Writer, change: Change, found: Found) -> None:
    del change
    user = _there(found.user)
    role = _there(found.role)
    await writer.post(
        f"systemusers({user.id})/systemuserroles_association/$ref",
        {"@odata.id": writer.client.address(f"roles({role.id})")},
    )


_STEPS: dict[ChangeKind, Callable[[_Writer, Change, Found], Awaitable[None]]] = {
    ChangeKind.PUBLISHER: _make_publisher,
    ChangeKind.SOLUTION: _make_solution,
    ChangeKind.TABLE: _make_table,
    ChangeKind.COLUMN: _make_column,
    ChangeKind.SETTINGS: _change_settings,
    ChangeKind.ROLE: _make_role,
    ChangeKind.FILING: _file,
    ChangeKind.PRIVILEGES: _grant,
    ChangeKind.USER: _make_user,
    ChangeKind.ASSIGNMENT: _assign,
}
