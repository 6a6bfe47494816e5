"""Read the existing state of an environment; every read sees the latest writes."""

from collections.abc import Mapping
from typing import Any

from apex_pipeline.dataverse import documented_answers
from apex_pipeline.dataverse.answer_shape import as_documented
from apex_pipeline.dataverse.client import DataverseClient
from apex_pipeline.dataverse.throttling import Deadline
from apex_pipeline.errors import DataverseError
from apex_pipeline.metrics import COLUMNS, TABLE
from apex_pipeline.microsoft.http_answer import Expectation
from apex_pipeline.provisioning.existing_state import (
    METADATA_PRIVILEGES,
    PREFIX,
    PUBLISHER,
    ROLE,
    SOLUTION,
    Found,
    FoundColumn,
    FoundPublisher,
    FoundRole,
    FoundSolution,
    FoundTable,
    FoundUser,
)

TABLE_PATH = f"EntityDefinitions(LogicalName='{TABLE}')"

STRONG = {"Consistency": "Strong"}
"""Header that makes the server bypass its metadata cache."""

_FACETS = {
    "String": "MaxLength",
    "Memo": "MaxLength",
    "Integer": "MinValue,MaxValue",
    "BigInt": "MinValue,MaxValue",
    "Decimal": "MinValue,MaxValue,Precision",
    "Double": "MinValue,MaxValue,Precision",
    "Money": "MinValue,MaxValue,Precision",
    "DateTime": "Format",
}


async def inspect(
    client: DataverseClient, application: str, deadline: Deadline
) -> Found:
    """Read everything that `desired_state.make_plan` compares.

    Args:
        client: Client of the administrator or the application.
        application: Client id of the application whose user to read.
        deadline: Time limit for all reads.

    Raises:
        DataverseError: Something could not be read; see the tree in `errors`.
    """
    with as_documented("read the existing state of the environment"):
        return await _inspect(_CollectionReader(client, deadline), application)


async def _inspect(reader: "_CollectionReader", application: str) -> Found:
    organization = await reader.first(
        "organizations?$select=languagecode,isauditenabled", "the organization"
    )
    unit = await reader.first(
        "businessunits?$select=businessunitid"
        "&$filter=_parentbusinessunitid_value eq null",
        "the root business unit",
    )
    business_unit = str(unit["businessunitid"])
    return Found(
        language=organization["languagecode"],
        is_audited=bool(organization["isauditenabled"]),
        business_unit=business_unit,
        application=application,
        metadata_privileges=await _metadata_privileges(reader),
        publishers=await _publishers(reader),
        solution=await _solution(reader),
        table=await _table(reader),
        role=await _role(reader, business_unit),
        user=await _user(reader, application),
    )


async def inspect_table(
    client: DataverseClient, deadline: Deadline
) -> FoundTable | None:
    """Read only the table, which needs just `METADATA_PRIVILEGES`; None if missing.

    Raises:
        DataverseError: The table could not be read; see the tree in `errors`.
    """
    with as_documented(f"read the definition of {TABLE}"):
        return await _table(_CollectionReader(client, deadline))


class _CollectionReader:
    """Reads collections, each in one page."""

    def __init__(self, client: DataverseClient, deadline: Deadline) -> None:
        self._client = client
        self._deadline = deadline

    async def rows(
        self,
        path: str,
        what: str,
        member: str = "value",
        expected: Expectation = documented_answers.RECORDS,
    ) -> list[dict[str, Any]]:
        document = await self._client.get(
            path,
            what=f"read {what}",
            deadline=self._deadline,
            headers=STRONG,
            expected=expected,
        )
        rows: list[dict[str, Any]] = document[member]
        return rows

    async def first(self, path: str, what: str) -> dict[str, Any]:
        rows = await self.rows(path, what)
        if not rows:
            raise DataverseError(f"Could not read {what}: Dataverse returned none.")
        return rows[0]


async def _metadata_privileges(reader: _CollectionReader) -> Mapping[str, str]:
    condition = " or ".join(f"name eq '{name}'" for name in METADATA_PRIVILEGES)
    rows = await reader.rows(
        f"privileges?$select=privilegeid,name&$filter={condition}",
        "the privileges to read definitions",
    )
    found = {row["name"]: str(row["privilegeid"]).lower() for row in rows}
    if missing := set(METADATA_PRIVILEGES) - found.keys():
        raise DataverseError(
            f"Dataverse shows no privilege {' and '.join(sorted(missing))}."
        )
    return found


async def _publishers(reader: _CollectionReader) -> tuple[FoundPublisher, ...]:
    rows = await reader.rows(
        "publishers?$select=publisherid,uniquename,customizationprefix"
        f"&$filter=customizationprefix eq '{PREFIX}' or uniquename eq '{PUBLISHER}'"
        "&$orderby=uniquename",
        "the publishers",
    )
    return tuple(
        FoundPublisher(
            row["publisherid"], row["uniquename"], row["customizationprefix"]
        )
        for row in rows
    )


async def _solution(reader: _CollectionReader) -> FoundSolution | None:
    rows = await reader.rows(
        "solutions?$select=solutionid,ismanaged,_publisherid_value"
        f"&$filter=uniquename eq '{SOLUTION}'",
        "the solutions",
    )
    for row in rows:
        components = await reader.rows(
            "solutioncomponents?$select=objectid"
            f"&$filter=_solutionid_value eq {row['solutionid']}",
            f"what is in the solution {SOLUTION}",
        )
        return FoundSolution(
            row["solutionid"],
            row["_publisherid_value"],
            bool(row["ismanaged"]),
            frozenset(str(each["objectid"]).lower() for each in components),
        )
    return None


async def _table(reader: _CollectionReader) -> FoundTable | None:
    rows = await reader.rows(
        "EntityDefinitions?$select=IsManaged,TableType,EntitySetName,ChangeTrackingEnabled,"
        f"IsAuditEnabled,Privileges&$filter=LogicalName eq '{TABLE}'",
        f"the definition of {TABLE}",
    )
    for row in rows:
        return FoundTable(
            str(row["MetadataId"]).lower(),
            bool(row["IsManaged"]),
            row["TableType"],
            row["EntitySetName"],
            has_change_tracking=bool(row["ChangeTrackingEnabled"]),
            is_audited=bool(row["IsAuditEnabled"]["Value"]),
            columns=await _columns(reader),
            privileges={
                each["PrivilegeType"]: str(each["PrivilegeId"]).lower()
                for each in row["Privileges"]
            },
        )
    return None


async def _columns(reader: _CollectionReader) -> Mapping[str, FoundColumn]:
    """Read our columns, including properties that only a cast to their type returns."""
    what = f"the columns of {TABLE}"
    wanted = {column.dataverse for column in COLUMNS}
    rows = [
        row
        for row in await reader.rows(
            f"{TABLE_PATH}/Attributes"
            "?$select=LogicalName,AttributeType,IsValidForCreate,IsValidForUpdate",
            what,
        )
        if row["LogicalName"] in wanted
    ]
    facets: dict[str, Mapping[str, Any]] = {}
    for kind in sorted({row["AttributeType"] for row in rows} & _FACETS.keys()):
        for typed in await reader.rows(
            f"{TABLE_PATH}/Attributes/Microsoft.Dynamics.CRM.{kind}AttributeMetadata"
            f"?$select=LogicalName,{_FACETS[kind]}",
            what,
        ):
            facets[typed["LogicalName"]] = typed
    return {
        row["LogicalName"]: FoundColumn(
            row["AttributeType"],
            bool(row["IsValidForCreate"] and row["IsValidForUpdate"]),
            facets.get(row["LogicalName"], {}),
        )
        for row in rows
    }


async def _role(reader: _CollectionReader, business_unit: str) -> FoundRole | None:
    rows = await reader.rows(
        f"roles?$select=roleid&$filter=name eq '{ROLE}'"
        f" and _businessunitid_value eq {business_unit}",
        "the roles",
    )
    for row in rows:
        held = await reader.rows(
            f"RetrieveRolePrivilegesRole(RoleId={row['roleid']})",
            f"the privileges of {ROLE}",
            "RolePrivileges",
            documented_answers.PRIVILEGES,
        )
        return FoundRole(str(row["roleid"]).lower(), depths(held))
    return None


def depths(privileges: list[dict[str, Any]]) -> dict[str, str]:
    """Map the privileges of a role or user from id to depth."""
    return {str(p["PrivilegeId"]).lower(): str(p["Depth"]) for p in privileges}


async def _user(reader: _CollectionReader, application: str) -> FoundUser | None:
    rows = await reader.rows(
        "systemusers?$select=systemuserid,isdisabled,_businessunitid_value"
        f"&$filter=applicationid eq {application}"
        "&$expand=systemuserroles_association($select=roleid,name)",
        "the application user",
    )
    for row in rows:
        return FoundUser(
            row["systemuserid"],
            bool(row["isdisabled"]),
            row["_businessunitid_value"],
            {
                str(r["roleid"]).lower(): r["name"]
                for r in row["systemuserroles_association"]
            },
        )
    return None
