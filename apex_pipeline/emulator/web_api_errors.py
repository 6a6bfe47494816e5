"""Errors as the Web API states them: an HTTP status, a code and a message.

Whatever refuses a request raises WebApiError, which becomes its answer; docstrings do
not repeat that. Statuses and the body's shape are from Microsoft Learn, "Compose HTTP
requests and handle errors"; names of codes from "Web service error codes". Where a
comment says observed, the text was seen on real organisations but is not documented.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field


@dataclass(slots=True)
class WebApiError(Exception):
    """An answer that is not success.

    Attributes:
        status: HTTP status.
        code: Dataverse's code, hexadecimal.
        message: Text for people.
        headers: Further response headers, such as Retry-After.
        annotations: Members that are added on `odata.include-annotations="*"`.
    """

    status: int
    code: str
    message: str
    headers: Mapping[str, str] = field(default_factory=dict)
    annotations: Mapping[str, str] = field(default_factory=dict)


class MalformedValueError(ValueError):
    """A JSON value that the OData reader cannot convert; becomes `malformed_payload`."""


def _worded(status: int, code: str, text: str) -> Callable[..., WebApiError]:
    """Makes an error whose text holds the arguments, in turn."""
    return lambda *arguments: WebApiError(status, code, text.format(*arguments))


# The OData reader refused the body, observed: entity set, reason.
malformed_payload = _worded(
    400,
    "0x80048d19",
    "Error identified in Payload provided by the user for Entity :'{}', For more"
    " information on this error please follow this help link"
    " https://go.microsoft.com/fwlink/?linkid=2195293  ---->  InnerException :"
    " Microsoft.OData.ODataException: {}",
)
# The URL or a query option cannot be parsed, observed: reason.
malformed_url = _worded(400, "0x80060888", "{}")
# Unknown entity set or function; 404 rather than 400 is chosen, both were seen.
no_such_segment = _worded(404, "0x80060888", "Resource not found for the segment '{}'.")
# Operands of two types, as the OData reader words it: left, right, operation.
incompatible = _worded(
    400,
    "0x80060888",
    "A binary operator with incompatible types was detected. Found operand types '{}' and"
    " '{}' for operator kind '{}'.",
)
# "Execute batch operations using the Web API", two spaces included.
text_too_long = _worded(
    400,
    "0x80044331",
    "A validation error occurred.  The length of the '{1}' attribute of the '{0}' entity"
    " exceeded the maximum allowed length of '{2}'.",
)
too_early = _worded(
    400,
    "0x80044331",
    "A validation error occurred. DateTime is less than minimum value supported by"
    " CrmDateTime. Actual value: {}, Minimum value supported: 01/01/1753 00:00:00",
)
no_such_content_id = _worded(
    400,
    "0x80048d19",
    "Content-ID Reference: '{}' does not exist in the batch context.",
)
too_many_operations = _worded(
    400,
    "0x80048d19",
    "The maximum number of batch operations has been exceeded: the limit is '{}'.",
)
# A choice that the column does not offer, observed: value, column, table, options.
no_such_choice = _worded(
    400,
    "0x8004431a",
    "A validation error occurred. The value {} of '{}' on record of type '{}' is outside"
    " the valid range. Accepted Values: {}",
)
# ObjectDoesNotExist, by primary key: table, key.
no_such_record = _worded(404, "0x80040217", "{} With Id = {} Does Not Exist")
# Several at once, "Bulk operation messages", common errors: schema name, keys.
no_such_records = _worded(404, "0x80040217", "{} With Ids = {} Do Not Exist")
# The primary key of a new record is taken; "Bulk operation messages".
duplicate_key = _worded(412, "0x80040237", "Cannot insert duplicate key.")
# An alternate key that no record carries: table.
no_such_key_value = _worded(
    404,
    "0x80060891",
    "A record with the specified key values does not exist in {} entity",
)
# Columns in the URL that are no active key; "Use an alternate key to reference a record".
key_not_declared = _worded(
    400,
    "0x80060888",
    "The key in the request URI is not valid for resource 'Microsoft.Dynamics.CRM.{0}'."
    " Ensure that the names and number of key properties match the declared or alternate"
    " key properties for the resource 'Microsoft.Dynamics.CRM.{0}'.",
)
# DuplicateRecord: same primary key, or `If-None-Match: *` on an existing record.
record_exists = _worded(
    412, "0x80040237", "A record with matching key values already exists."
)
# Two targets of one UpsertMultiple are the same record: table, record. "Bulk operation
# messages" says that it fails; status, code and text are chosen.
duplicate_targets = _worded(
    400,
    "0x80040237",
    "A record with matching key values already exists. Targets hold {} {} more than once.",
)
# CannotDeleteDueToAssociation, listed with 405 in "Compose HTTP requests".
still_referenced = _worded(
    405,
    "0x80048405",
    "The object you tried to delete is associated with another object and cannot be"
    " deleted.",
)
# ConcurrencyVersionMismatch, from "Perform conditional operations".
version_mismatch = _worded(
    412,
    "0x80060882",
    "The version of the existing record doesn't match the RowVersion property provided.",
)
# The token's application has no application user here; observed.
not_a_member = _worded(
    403, "0x80072560", "The user is not a member of the organization."
)
user_disabled = _worded(
    403,
    "0x80040225",
    "The specified user is either disabled or is not a member of any business unit.",
)
# The catch-all of the platform.
unexpected = _worded(400, "0x80040216", "An unexpected error occurred.")
# Third parties saw 500. Numbers: 1205 deadlock; 3732, 2766 and 2812 races on the first
# bulk requests to a new table.
sql_error = _worded(500, "0x80044150", "Generic SQL error. Sql Number: {}")
sql_timeout = _worded(500, "0x80044151", "SQL timeout expired.")
# A table, column or key that cannot be; the code is that of invalid arguments.
invalid_definition = _worded(400, "0x80040203", "{}")
# A required parameter or column without a value: what.
required_missing = _worded(400, "0x80040200", "Required field missing. {}")
# DuplicateAttributeSchemaName, observed: schema name.
column_exists = _worded(
    400,
    "0x80047013",
    "An attribute with the specified name {} already exists. Specify a unique name.",
)
# Observed: schema name.
table_exists = _worded(
    400,
    "0x80044363",
    "An entity with the specified name {} already exists. Specify a unique name.",
)
# A column that an alternate key holds.
still_needed = _worded(
    400,
    "0x8004f01f",
    "The {} component cannot be deleted because it is referenced by 1 other component: an"
    " alternate key.",
)
# RequestLengthTooLarge.
request_too_large = _worded(413, "0x8004418a", "Request message length is too large.")
# A body that is not declared as JSON ("Compose HTTP requests": it has to be). The text is
# that of the OData library; 415 is observed with it.
not_json = _worded(
    415,
    "0x80048d19",
    "A supported MIME type could not be found that matches the content type of the"
    " request. None of the supported type(s) 'application/json' matches the content type"
    " '{:.100}'.",
)
# A bound message without its namespace, from "Use Web API actions".
unresolved_parameters = _worded(
    400, "0x8006088a", "Request message has unresolved parameters."
)
# POST to a function or GET of an action ("Troubleshoot Web API client errors").
wrong_verb = _worded(
    404, "", "No HTTP resource was found that matches the request URI '{}'."
)
# The resource is there, the method is not; the code is chosen.
method_not_allowed = _worded(
    405, "0x8006088a", "The requested resource does not support http method '{}'."
)
# Something that the service may do and this emulator does not. The code is COM's
# E_NOTIMPL, which Dataverse does not use for anything else.
not_emulated = _worded(501, "0x80004001", "The emulator does not do this: {}")
expired_stamp = _worded(
    400,
    "0x80044352",
    "Version stamp associated with the client has expired. Please perform a full sync.",
)
malformed_cookie = _worded(400, "0x80040203", "Malformed XML in the Paging Cookie")


def no_such_property(name: str, table: str, *, custom: bool = True) -> WebApiError:
    """A property in a query option that the table does not have; observed.

    The platform's own tables have more columns than are here: of those nothing is known.
    """
    if not custom:
        return not_emulated(f"the property {name} of the table {table}.")
    return malformed_url(
        f"Could not find a property named '{name}' on type"
        f" 'Microsoft.Dynamics.CRM.{table}'."
    )


def out_of_range(code: str, column: str, value: object, limits: str) -> WebApiError:
    """A number outside MinValue and MaxValue; observed for System.Decimal.

    Args:
        code: One for each type.
        column: With its table, `apex_campaignmetrics.apex_costusd`.
        value: With its type, such as `1 of type System.Int32`.
        limits: `0 to 10`.
    """
    return WebApiError(
        400,
        code,
        f"A validation error occurred for {column}. The value {value} is outside the valid"
        f" range({limits}).",
    )


def key_violated(key: str, values: Mapping[str, object]) -> WebApiError:
    """DuplicateRecordEntityKey; the attributes are named by annotation only."""
    pairs = "".join(f"<{name}>{value}</{name}>" for name, value in values.items())
    return WebApiError(
        412,
        "0x80060892",
        f"Entity Key {key} violated. A record with the same value for {', '.join(values)}"
        " already exists. A duplicate record cannot be created. Select one or more unique"
        " values and try again.",
        annotations={
            "Microsoft.PowerApps.CDS.ErrorDetails.DuplicateAttributes": (
                f"<DuplicateAttributes>{pairs}</DuplicateAttributes>"
            )
        },
    )
