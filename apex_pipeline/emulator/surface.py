"""Everything that can be asked of the emulator: addresses, messages, what they honour.

The guard lets nothing else through, the coverage table is printed from here, and a test
walks every query option over every route. Sources are pages of Microsoft Learn.
"""

from dataclasses import dataclass

ALIASES = "@name"
"""Stands for the parameter aliases, whatever they are called."""

_PAGES = {
    "aggregate": "Aggregate data using OData",
    "associate": "Associate and disassociate table rows using the Web API",
    "batch": "Execute batch operations using the Web API",
    "bulk": "Bulk operation messages",
    "changes": "Use change tracking to synchronize data with external systems",
    "columns": "Create and update column definitions using the Web API",
    "count": "Count rows",
    "create": "Create a table row using the Web API",
    "definitions": "Query table definitions using the Web API",
    "delete": "Delete data in bulk",
    "keys": "Define alternate keys for a table",
    "python": "none; Microsoft's Python SDK sends it",
    "query": "Query data using OData",
    "reference": "Web API reference",
    "relationships": "Create and update table relationships using the Web API",
    "retrieve": "Retrieve a table row using the Web API",
    "schema": "Query schema definitions",
    "service": "Web API service documents",
    "tables": "Create and update table definitions using the Web API",
    "update": "Update and delete table rows using the Web API",
    "upsert": "Use Upsert to create or update a record",
}
_GROUPS = {
    "SHAPE": "$select $expand @name",
    "LIST": "$select $expand @name $filter $orderby $top $count $skiptoken",
    "DEFINED": "$select $expand @name $filter",
    "WRITING": "mscrm.suppressduplicatedetection",
    "SOLUTION": "mscrm.solutionuniquename",
    "MERGING": "mscrm.solutionuniquename mscrm.mergelabels if-match:*",
}
# Method, resource, address, page, and what it honours: query options, preferences
# (p:…) and headers of meaning; -… is an option that is ignored, !… one that is refused,
# both as documented. 501 alone: the service has this address, and it is not done here.
_ROUTES = """
GET | service document | / | service |
POST | $batch | /$batch | batch | p:odata.continue-on-error
GET | records | /{set} | query | LIST
GET | aggregation | /{set}?$apply | aggregate | $apply $filter !$orderby $top @name
GET | changes | /{set}, changes | changes | $select $deltatoken $skiptoken p:odata.track-changes !$filter !$orderby !$expand !$top
GET | count | /{set}/$count | count | $filter @name
POST | records | /{set} | create | SHAPE p:return WRITING SOLUTION
POST | bulk message | /{set}/Microsoft.Dynamics.CRM.{message} | bulk | Targets WRITING
GET | record | /{set}({key}) | retrieve | SHAPE if-none-match
PATCH | record | /{set}({key}) | upsert | $select -$expand p:return WRITING if-match if-none-match:*
DELETE | record | /{set}({key}) | update | WRITING if-match
GET | property | /{set}({key})/{column} | retrieve |
PUT | property | /{set}({key})/{column} | update | WRITING
DELETE | property | /{set}({key})/{column} | update | WRITING
GET | related record | /{set}({key})/{lookup} | retrieve | SHAPE
GET | related records | /{set}({key})/{collection} | query | LIST
GET | reference | /{set}({key})/{lookup}/$ref | retrieve | 501
PUT | reference | /{set}({key})/{lookup}/$ref | associate |
DELETE | reference | /{set}({key})/{lookup}/$ref | associate |
GET | references | /{set}({key})/{collection}/$ref | retrieve | 501
POST | references | /{set}({key})/{collection}/$ref | associate |
DELETE | references | /{set}({key})/{collection}({key})/$ref | associate |
GET | systemuser RetrieveUserPrivileges | /systemusers({key})/Microsoft.Dynamics.CRM.RetrieveUserPrivileges | reference |
POST | role AddPrivilegesRole | /roles({key})/Microsoft.Dynamics.CRM.AddPrivilegesRole | reference |
POST | role ReplacePrivilegesRole | /roles({key})/Microsoft.Dynamics.CRM.ReplacePrivilegesRole | reference | 501
POST | role RemovePrivilegeRole | /roles({key})/Microsoft.Dynamics.CRM.RemovePrivilegeRole | reference | 501
GET | definitions | /EntityDefinitions | definitions | DEFINED
GET | definitions count | /EntityDefinitions/$count | definitions |
POST | definitions | /EntityDefinitions | tables | SOLUTION
GET | definition | /EntityDefinitions({key}) | definitions | SHAPE
PUT | definition | /EntityDefinitions({key}) | tables | MERGING
DELETE | definition | /EntityDefinitions({key}) | tables | if-match:*
GET | columns | /EntityDefinitions({key})/Attributes | definitions | DEFINED
POST | columns | /EntityDefinitions({key})/Attributes | columns | SOLUTION
GET | column | /EntityDefinitions({key})/Attributes({key}) | definitions | SHAPE
PUT | column | /EntityDefinitions({key})/Attributes({key}) | columns | MERGING
DELETE | column | /EntityDefinitions({key})/Attributes({key}) | columns | if-match:*
GET | keys | /EntityDefinitions({key})/Keys | definitions | DEFINED
POST | keys | /EntityDefinitions({key})/Keys | keys | SOLUTION
GET | key | /EntityDefinitions({key})/Keys({key}) | definitions | SHAPE
DELETE | key | /EntityDefinitions({key})/Keys({key}) | keys | if-match:*
GET | parts | /EntityDefinitions({key})/{relationships} | definitions | DEFINED
GET | part | /EntityDefinitions({key})/{relationships}({key}) | definitions | SHAPE
GET | relationships | /RelationshipDefinitions | definitions | $select $filter @name
POST | relationships | /RelationshipDefinitions | relationships | SOLUTION
GET | relationship | /RelationshipDefinitions({key}) | definitions | $select
PUT | relationship | /RelationshipDefinitions({key}) | relationships | 501
DELETE | relationship | /RelationshipDefinitions({key}) | relationships | if-match:*
"""  # one line each
# Method, name, page, and parameters; -… is one that the service has and this has not.
_MESSAGES = """
POST | AddSolutionComponent | reference | ComponentId ComponentType SolutionUniqueName AddRequiredComponents DoNotIncludeSubcomponents -IncludedComponentSettingsValues
POST | BulkDelete | delete | QuerySet JobName ToRecipients CCRecipients StartDateTime RunNow -SendEmailNotification -RecurrencePattern -SourceImportId
POST | CreateEntities | python | Entities $SolutionUniqueName SOLUTION
POST | InsertOptionValue | reference | AttributeLogicalName EntityLogicalName Label Value -OptionSetName -Description -SolutionUniqueName -ParentValues
POST | PublishAllXml | reference |
POST | PublishXml | reference | ParameterXml
GET | RetrieveAvailableLanguages | reference |
GET | RetrieveCurrentOrganization | reference | AccessType
GET | RetrieveMetadataChanges | schema | Query -ClientVersionStamp -DeletedMetadataFilters -AppModuleId -RetrieveAllSettings
GET | RetrieveRolePrivilegesRole | reference | RoleId
GET | RetrieveTotalRecordCount | count | EntityNames
GET | RetrieveVersion | reference |
GET | WhoAmI | reference |
"""  # one line each


@dataclass(frozen=True, slots=True)
class Route:
    """One kind of address with one method.

    Attributes:
        address: As the coverage table shows it.
        source: The page that describes it.
        options: Query options that it honours; `tag` goes with every route.
        preferences: Preferences that it honours, beyond those that fit every route.
        headers: Headers of meaning that it honours; `:*` allows that value alone.
        refused: Query options that the documentation says are refused.
        ignored: Query options that the documentation says are ignored.
        parameters: Of a message, those that it honours.
        others: Of a message, those that the service has beside them.
        done: Whether it is done at all.
    """

    address: str
    source: str
    options: frozenset[str] = frozenset()
    preferences: frozenset[str] = frozenset()
    headers: frozenset[str] = frozenset()
    refused: frozenset[str] = frozenset()
    ignored: frozenset[str] = frozenset()
    parameters: frozenset[str] = frozenset()
    others: frozenset[str] = frozenset()
    done: bool = True


def _rows(text: str) -> list[list[str]]:
    for name, names in _GROUPS.items():
        text = text.replace(f" {name}", f" {names}")
    return [
        [cell.strip() for cell in line.split("|")] for line in text.strip().splitlines()
    ]


def _marked(honoured: list[str], mark: str) -> frozenset[str]:
    return frozenset(
        name.removeprefix(mark) for name in honoured if name.startswith(mark)
    )


def _route(address: str, page: str, honoured: list[str]) -> Route:
    return Route(
        address,
        _PAGES[page],
        frozenset(name for name in honoured if name[0] in "$@"),
        _marked(honoured, "p:"),
        frozenset(name for name in honoured if name.startswith(("mscrm.", "if-"))),
        _marked(honoured, "!"),
        _marked(honoured, "-"),
        frozenset(name for name in honoured if name[0].isupper()),
        done=honoured != ["501"],
    )


def _message(method: str, name: str, page: str, honoured: list[str]) -> Route:
    return Route(
        f"/{name}",
        _PAGES[page],
        frozenset([ALIASES]) if method == "GET" else _marked(honoured, "$"),
        headers=frozenset(each for each in honoured if each.startswith("mscrm.")),
        parameters=frozenset(each for each in honoured if each[0].isupper()),
        others=_marked(honoured, "-"),
    )


ROUTES: dict[tuple[str, str], Route] = {
    (method, resource): _route(address, page, honoured.split())
    for method, resource, address, page, honoured in _rows(_ROUTES)
}
"""By method and resource."""
MESSAGES: dict[str, tuple[str, Route]] = {
    name: (method, _message(method, name, page, honoured.split()))
    for method, name, page, honoured in _rows(_MESSAGES)
}
"""Functions (GET) and actions (POST) that belong to no table, by name."""
BOUND_MESSAGES = {
    (table, message)
    for _, resource in ROUTES
    for table, _, message in [resource.partition(" ")]
    if table in {"systemuser", "role"}
}
