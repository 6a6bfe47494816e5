"""The platform's own tables, as far as provisioning and sign-in touch them.

Columns are those that Microsoft Learn's table references list and clients here use;
everything else about these tables is left out.
"""

from typing import Any

from apex_pipeline.emulator.definitions import CRM, Definition, label, metadata_id

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
    "prvBypassCustomBusinessLogic",
    "prvBypassCustomPlugins",
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


def _text(name: str, length: int = 200, **more: object) -> dict[str, Any]:
    return _column("String", name, MaxLength=length, **more)


def _column(kind: str, name: str, **more: object) -> dict[str, Any]:
    return {
        "@odata.type": f"{CRM}{kind}AttributeMetadata",
        "SchemaName": name,
        "DisplayName": label(name),
        "IsCustomAttribute": False,
        **more,
    }


def _whole(name: str) -> dict[str, Any]:
    return _column("Integer", name, MinValue=-(2**31), MaxValue=2**31 - 1)


def _lookup(name: str, target: str) -> dict[str, Any]:
    return _column("Lookup", name, Targets=[target])


def _table(name: str, *columns: dict[str, Any], stem: str | None = None) -> Definition:
    """A definition to post; `stem` is what its privileges are called after."""
    return {
        "@odata.type": f"{CRM}EntityMetadata",
        "SchemaName": name,
        "DisplayName": label(name),
        "DisplayCollectionName": label(f"{name}s"),
        "IsCustomEntity": False,
        "OwnershipType": "None",
        "_PrivilegeStem": name if stem is None else stem,
        "Attributes": list(columns),
    }


SYSTEM_TABLES: tuple[Definition, ...] = (
    # First, for the others' privileges are rows of it. Anybody may read it (chosen).
    _table(
        "Privilege",
        _text("Name", IsPrimaryName=True),
        _whole("AccessRight"),
        *(
            _column("Boolean", f"CanBe{depth}")
            for depth in ("Basic", "Local", "Deep", "Global")
        ),
        stem="",
    ),
    _table(
        "Organization",
        _text("Name", IsPrimaryName=True),
        _column("Boolean", "IsAuditEnabled"),
        _whole("LanguageCode"),
        _whole("ExpireChangeTrackingInDays"),
    ),
    _table(
        "BusinessUnit",
        _text("Name", IsPrimaryName=True),
        _lookup("ParentBusinessUnitId", "businessunit"),
    ),
    _table(
        "SystemUser",
        _text("FullName", IsPrimaryName=True),
        _text("FirstName"),
        _text("LastName"),
        _text("DomainName", 1024),
        _text("InternalEMailAddress"),
        _column("Uniqueidentifier", "ApplicationId"),
        _column("Uniqueidentifier", "AzureActiveDirectoryObjectId"),
        _column("Boolean", "IsDisabled"),
        _lookup("BusinessUnitId", "businessunit"),
        stem="User",
    ),
    _table(
        "Role",
        _text("Name", 100, IsPrimaryName=True),
        _text("Description", 2000),
        _lookup("BusinessUnitId", "businessunit"),
    ),
    _table(
        "Publisher",
        _text("FriendlyName", IsPrimaryName=True),
        _text("UniqueName"),
        _text("Description", 2000),
        _text("CustomizationPrefix", 8),
        _whole("CustomizationOptionValuePrefix"),
    ),
    _table(
        "Solution",
        _text("FriendlyName", IsPrimaryName=True),
        _text("UniqueName"),
        _text("Description", 2000),
        _text("Version", 256),
        _column("Boolean", "IsManaged"),
        _lookup("PublisherId", "publisher"),
    ),
    _table(
        "SolutionComponent",
        _lookup("SolutionId", "solution"),
        _column("Uniqueidentifier", "ObjectId"),
        _whole("ComponentType"),
        stem="",
    ),
)

FIRST_ROWS: tuple[tuple[str, dict[str, object]], ...] = (
    (
        "organization",
        {
            "organizationid": ORGANIZATION_ID,
            "name": "emulator",
            "isauditenabled": True,
            "languagecode": 1033,
            "expirechangetrackingindays": 7,
        },
    ),
    ("businessunit", {"businessunitid": ROOT_BUSINESS_UNIT, "name": "emulator"}),
    (
        "role",
        {
            "roleid": ADMINISTRATOR_ROLE,
            "name": ADMINISTRATOR,
            "businessunitid": ROOT_BUSINESS_UNIT,
        },
    ),
    (
        "publisher",
        {
            "publisherid": DEFAULT_PUBLISHER,
            "friendlyname": "Default Publisher",
            "uniquename": "DefaultPublisheremulator",
            "customizationprefix": "new",
            "customizationoptionvalueprefix": 10000,
        },
    ),
    (
        "solution",
        {
            "solutionid": DEFAULT_SOLUTION,
            "friendlyname": "Default Solution",
            "uniquename": "Default",
            "version": "1.0",
            "ismanaged": False,
            "publisherid": DEFAULT_PUBLISHER,
        },
    ),
)
