"""The platform's own tables, as far as provisioning, sign-in and samples touch them.

Columns are those that Microsoft Learn's table references list and clients here use;
everything else about these tables is left out.
"""

import json
from typing import Any

from apex_pipeline.emulator.table_definitions import CRM, Definition, label, metadata_id

ORGANIZATION_ID = metadata_id("organization")
ROOT_BUSINESS_UNIT = metadata_id("businessunit")
ADMINISTRATOR_ROLE = metadata_id("role", "System Administrator")
ADMINISTRATOR = "System Administrator"
DEFAULT_PUBLISHER = metadata_id("publisher")
DEFAULT_SOLUTION = metadata_id("solution")

# Privileges that belong to no table here. Names as in "Security role privileges".
PLAIN_PRIVILEGES = (
    *(
        f"prv{operation}{what}"
        for what in ("Entity", "Attribute", "Relationship", "OptionSet")
        for operation in ("Create", "Read", "Write", "Delete")
    ),
    "prvPublishCustomization",
    "prvReadSharePointData",
    "prvReadSharePointDocument",
    "prvCreateSharePointData",
    "prvWriteSharePointData",
)
INJECTED_PRIVILEGES = PLAIN_PRIVILEGES[-4:]
"""What the platform adds to every new role by itself; observed."""


def plain_privilege_id(name: str) -> str:
    """Id of a privilege that belongs to no table."""
    return metadata_id("privilege", name)


# Name, number, `user` where users own its records, what its privileges are called
# after (- for none: anybody may read it, which is chosen), then the columns. Privilege
# comes first, for the others' privileges are its rows. A `!` marks the primary name;
# after a colon stand a length, a type, or the tables that a lookup refers to.
_TABLES = """
Privilege 1023 none - Name! AccessRight:Integer CanBeBasic:Boolean CanBeLocal:Boolean CanBeDeep:Boolean CanBeGlobal:Boolean
Organization 1019 none Organization Name! IsAuditEnabled:Boolean AuditRetentionPeriodV2:Integer LanguageCode:Integer ExpireChangeTrackingInDays:Integer
BusinessUnit 10 none BusinessUnit Name! ParentBusinessUnitId:businessunit
SystemUser 8 none User FullName! FirstName LastName DomainName:1024 InternalEMailAddress ApplicationId:Uniqueidentifier AzureActiveDirectoryObjectId:Uniqueidentifier IsDisabled:Boolean BusinessUnitId:businessunit
Role 1036 none Role Name!:100 Description:2000 BusinessUnitId:businessunit
Publisher 7101 none Publisher FriendlyName! UniqueName Description:2000 CustomizationPrefix:8 CustomizationOptionValuePrefix:Integer
Solution 7100 none Solution FriendlyName! UniqueName Description:2000 Version:256 IsManaged:Boolean PublisherId:publisher
SolutionComponent 7103 none - SolutionId:solution ObjectId:Uniqueidentifier ComponentType:Integer
SdkMessage 4606 none - Name!:256
SdkMessageFilter 4607 none - PrimaryObjectTypeCode:128 SdkMessageId:sdkmessage
Account 1 user Account Name!:160 AccountNumber:20 EMailAddress1:100 Telephone1:50 WebSiteURL Address1_City:80 Description:Memo NumberOfEmployees:Integer Revenue:Money CreditOnHold:Boolean LastOnHoldTime:DateTime PrimaryContactId:contact ParentAccountId:account
Contact 2 user Contact FullName!:160 FirstName:50 LastName:50 JobTitle:100 EMailAddress1:100 Telephone1:50 Address1_City:80 Description:Memo ParentCustomerId:account,contact
"""  # one line each
_MONEY = {"MaxValue": 10**11, "Precision": 4}
_TYPES = {"Boolean", "DateTime", "Integer", "Memo", "Money", "Uniqueidentifier"}


def _column(text: str) -> dict[str, Any]:
    name, _, given = text.partition(":")
    more: dict[str, Any] = {"MaxLength": int(given) if given.isdigit() else 200}
    kind = "String"
    if given in _TYPES:
        kind, more = given, _MONEY if given == "Money" else {}
    elif given and not given.isdigit():
        kind, more = "Lookup", {"Targets": given.split(",")}
    name, primary = name.rstrip("!"), name.endswith("!")
    return {
        "@odata.type": f"{CRM}{kind}AttributeMetadata",
        "SchemaName": name,
        "DisplayName": label(name),
        "IsCustomAttribute": False,
        **({"IsPrimaryName": True} if primary else {}),
        # The platform puts the full name together.
        **({"IsValidForCreate": False} if text == "FullName!:160" else {}),
        **more,
    }


def _table(line: str) -> Definition:
    """A definition to post."""
    name, number, owner, stem, *columns = line.split()
    return {
        "@odata.type": f"{CRM}EntityMetadata",
        "SchemaName": name,
        "DisplayName": label(name),
        "DisplayCollectionName": label(f"{name}s"),
        "IsCustomEntity": False,
        "ObjectTypeCode": int(number),
        "OwnershipType": "UserOwned" if owner == "user" else "None",
        "_PrivilegeStem": stem.removeprefix("-"),
        "Attributes": [_column(text) for text in columns],
    }


SYSTEM_TABLES = tuple(_table(line) for line in _TABLES.strip().splitlines())

# Schema names of relationships, with {} for the table: by table and single-valued
# navigation property, or for every table by the lookup's name.
SYSTEM_RELATIONSHIPS: dict[tuple[str, str], str] = {
    ("", "createdby"): "lk_{}_createdby",
    ("", "createdonbehalfby"): "lk_{}_createdonbehalfby",
    ("", "modifiedby"): "lk_{}_modifiedby",
    ("", "modifiedonbehalfby"): "lk_{}_modifiedonbehalfby",
    ("", "organizationid"): "organization_{}",
    ("", "ownerid"): "owner_{}",
    ("", "owningbusinessunit"): "business_unit_{}",
    ("", "owningteam"): "team_{}",
    ("", "owninguser"): "user_{}",
    ("account", "parentaccountid"): "account_parent_account",
    ("account", "primarycontactid"): "account_primary_contact",
    ("businessunit", "parentbusinessunitid"): "business_unit_parent_business_unit",
    ("contact", "parentcustomerid_account"): "contact_customer_accounts",
    ("contact", "parentcustomerid_contact"): "contact_customer_contacts",
    ("role", "businessunitid"): "business_unit_roles",
    ("sdkmessagefilter", "sdkmessageid"): "sdkmessageid_sdkmessagefilter",
    ("systemuser", "businessunitid"): "business_unit_system_users",
}
SDK_MESSAGES = ("Create", "CreateMultiple", "Update", "UpdateMultiple", "Delete")
"""Messages that sdkmessagefilters lists; it never lists UpsertMultiple."""


def message_id(name: str) -> str:
    """Id of a message's record."""
    return metadata_id("message", name)


# Table, then its values as JSON.
_ROWS = f"""
organization {{"organizationid": "{ORGANIZATION_ID}", "name": "emulator", "isauditenabled": true, "auditretentionperiodv2": 30, "languagecode": 1033, "expirechangetrackingindays": 7}}
businessunit {{"businessunitid": "{ROOT_BUSINESS_UNIT}", "name": "emulator"}}
role {{"roleid": "{ADMINISTRATOR_ROLE}", "name": "{ADMINISTRATOR}", "businessunitid": "{ROOT_BUSINESS_UNIT}"}}
publisher {{"publisherid": "{DEFAULT_PUBLISHER}", "friendlyname": "Default Publisher", "uniquename": "DefaultPublisheremulator", "customizationprefix": "new", "customizationoptionvalueprefix": 10000}}
solution {{"solutionid": "{DEFAULT_SOLUTION}", "friendlyname": "Default Solution", "uniquename": "Default", "version": "1.0", "ismanaged": false, "publisherid": "{DEFAULT_PUBLISHER}"}}
"""  # one line each
FIRST_ROWS: list[tuple[str, dict[str, object]]] = [
    ("sdkmessage", {"sdkmessageid": message_id(name), "name": name})
    for name in SDK_MESSAGES
]
"""Records that are there from the start."""
for _line in _ROWS.strip().splitlines():
    _table_name, _, _values = _line.partition(" ")
    FIRST_ROWS.append((_table_name, json.loads(_values)))
