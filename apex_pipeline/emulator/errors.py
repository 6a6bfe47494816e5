"""Errors as the Web API states them: an HTTP status, a code and a message.

Whatever refuses a request raises WebApiError, which becomes its answer; docstrings do
not repeat that. Statuses and the body's shape are from Microsoft Learn, "Compose HTTP requests and
handle errors"; names of codes from "Web service error codes". Where a docstring says
observed, the text was seen on real organisations but is not documented.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(slots=True)
class WebApiError(Exception):
    """An answer that is not success.

    Attributes:
        status: HTTP status.
        code: Dataverse's code, hexadecimal.
        message: Text for a person.
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


def malformed_payload(entity_set: str, reason: str) -> WebApiError:
    """0x80048d19, observed: the OData reader refused the body."""
    return WebApiError(
        400,
        "0x80048d19",
        f"Error identified in Payload provided by the user for Entity :'{entity_set}',"
        " For more information on this error please follow this help link"
        " https://go.microsoft.com/fwlink/?linkid=2195293  ---->  InnerException :"
        f" Microsoft.OData.ODataException: {reason}",
    )


def malformed_url(reason: str, status: int = 400) -> WebApiError:
    """0x80060888, observed: the URL or a query option cannot be parsed."""
    return WebApiError(status, "0x80060888", reason)


def no_such_segment(segment: str) -> WebApiError:
    """Unknown entity set or function; 404 rather than 400 is chosen, both were seen."""
    return malformed_url(f"Resource not found for the segment '{segment}'.", 404)


def incompatible(left: str, right: str, operation: str) -> WebApiError:
    """Operands of two types, as the OData reader words it."""
    return malformed_url(
        "A binary operator with incompatible types was detected. Found operand types"
        f" '{left}' and '{right}' for operator kind '{operation}'."
    )


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


def text_too_long(table: str, column: str, limit: int) -> WebApiError:
    """From "Execute batch operations using the Web API", two spaces included."""
    return WebApiError(
        400,
        "0x80044331",
        f"A validation error occurred.  The length of the '{column}' attribute of the"
        f" '{table}' entity exceeded the maximum allowed length of '{limit}'.",
    )


def out_of_range(
    code: str, table: str, column: str, value: object, *, kind: str, limits: str
) -> WebApiError:
    """A number outside MinValue and MaxValue; observed for System.Decimal."""
    return WebApiError(
        400,
        code,
        f"A validation error occurred for {table}.{column}. The value {value} of type"
        f" {kind} is outside the valid range({limits}).",
    )


def no_such_choice(
    table: str, column: str, value: int, accepted: list[int]
) -> WebApiError:
    """A choice that the column does not offer; observed."""
    listed = ",".join(str(option) for option in accepted)
    return WebApiError(
        400,
        "0x8004431a",
        f"A validation error occurred. The value {value} of '{column}' on record of"
        f" type '{table}' is outside the valid range. Accepted Values: {listed}",
    )


def no_such_record(table: str, record_id: str) -> WebApiError:
    """ObjectDoesNotExist, by primary key."""
    return WebApiError(
        404, "0x80040217", f"{table} With Id = {record_id} Does Not Exist"
    )


def no_such_records(schema_name: str, record_ids: list[str]) -> WebApiError:
    """Several at once, worded as in "Bulk operation messages", common errors."""
    listed = ", ".join(record_ids)
    return WebApiError(
        404, "0x80040217", f"{schema_name} With Ids = {listed} Do Not Exist"
    )


def duplicate_key() -> WebApiError:
    """The primary key of a new record is taken; "Bulk operation messages"."""
    return WebApiError(412, "0x80040237", "Cannot insert duplicate key.")


def no_such_key_value(table: str) -> WebApiError:
    """An alternate key that no record carries."""
    return WebApiError(
        404,
        "0x80060891",
        f"A record with the specified key values does not exist in {table} entity",
    )


def key_not_declared(table: str) -> WebApiError:
    """Key columns in the URL that are no active key of the table.

    From "Use an alternate key to reference a record".
    """
    return malformed_url(
        "The key in the request URI is not valid for resource"
        f" 'Microsoft.Dynamics.CRM.{table}'. Ensure that the names and number of key"
        " properties match the declared or alternate key properties for the resource"
        f" 'Microsoft.Dynamics.CRM.{table}'."
    )


def record_exists() -> WebApiError:
    """DuplicateRecord: same primary key, or `If-None-Match: *` on an existing record."""
    return WebApiError(
        412, "0x80040237", "A record with matching key values already exists."
    )


def key_violated(key: str, values: Mapping[str, object]) -> WebApiError:
    """DuplicateRecordEntityKey; the attributes are named by annotation only."""
    pairs = "".join(f"<{name}>{value}</{name}>" for name, value in values.items())
    columns = ", ".join(values)
    return WebApiError(
        412,
        "0x80060892",
        f"Entity Key {key} violated. A record with the same value for {columns} already"
        " exists. A duplicate record cannot be created. Select one or more unique"
        " values and try again.",
        annotations={
            "Microsoft.PowerApps.CDS.ErrorDetails.DuplicateAttributes": (
                f"<DuplicateAttributes>{pairs}</DuplicateAttributes>"
            )
        },
    )


def duplicate_targets(table: str, record: str) -> WebApiError:
    """Two targets of one UpsertMultiple are the same record.

    "Bulk operation messages" says that it fails; status, code and text are chosen.
    """
    return WebApiError(
        400,
        "0x80040237",
        f"A record with matching key values already exists. Targets hold {table}"
        f" {record} more than once.",
    )


def still_referenced() -> WebApiError:
    """CannotDeleteDueToAssociation, listed with 405 in "Compose HTTP requests"."""
    return WebApiError(
        405,
        "0x80048405",
        "The object you tried to delete is associated with another object and cannot be"
        " deleted.",
    )


def version_mismatch() -> WebApiError:
    """ConcurrencyVersionMismatch, from "Perform conditional operations"."""
    return WebApiError(
        412,
        "0x80060882",
        "The version of the existing record doesn't match the RowVersion property"
        " provided.",
    )


def not_a_member() -> WebApiError:
    """The token's application has no application user here; observed."""
    return WebApiError(
        403, "0x80072560", "The user is not a member of the organization."
    )


def user_disabled() -> WebApiError:
    """From "Web service error codes"."""
    return WebApiError(
        403,
        "0x80040225",
        "The specified user is either disabled or is not a member of any business"
        " unit.",
    )


def unexpected() -> WebApiError:
    """The catch-all of the platform."""
    return WebApiError(400, "0x80040216", "An unexpected error occurred.")


def sql_error(number: int) -> WebApiError:
    """Generic SQL error; 500 is what third parties saw.

    Numbers: 1205 deadlock; 3732, 2766 and 2812 races on the first bulk requests to a
    new table; -2 timeout, which has a code of its own.
    """
    if number == -2:
        return WebApiError(500, "0x80044151", "SQL timeout expired.")
    return WebApiError(500, "0x80044150", f"Generic SQL error. Sql Number: {number}")


def invalid_definition(reason: str) -> WebApiError:
    """A table, column or key that cannot be; the code is that of invalid arguments."""
    return WebApiError(400, "0x80040203", reason)


def still_needed(name: str) -> WebApiError:
    """A column that an alternate key holds."""
    return WebApiError(
        400,
        "0x8004f01f",
        f"The {name} component cannot be deleted because it is referenced by 1 other"
        " component: an alternate key.",
    )


def request_too_large() -> WebApiError:
    """RequestLengthTooLarge."""
    return WebApiError(413, "0x8004418a", "Request message length is too large.")


def not_json(content_type: str) -> WebApiError:
    """A body that is not declared as JSON ("Compose HTTP requests": it has to be).

    The text is that of the OData library; 415 is observed with it.
    """
    return WebApiError(
        415,
        "0x80048d19",
        "A supported MIME type could not be found that matches the content type of the"
        " request. None of the supported type(s) 'application/json' matches the content"
        f" type '{content_type[:100]}'.",
    )


def unresolved_parameters() -> WebApiError:
    """A bound message without its namespace, from "Use Web API actions"."""
    return WebApiError(400, "0x8006088a", "Request message has unresolved parameters.")


def wrong_verb(url: str) -> WebApiError:
    """POST to a function or GET of an action ("Troubleshoot Web API client errors")."""
    return WebApiError(
        404, "", f"No HTTP resource was found that matches the request URI '{url}'."
    )


def method_not_allowed(method: str) -> WebApiError:
    """The resource is there, the method is not; the code is chosen."""
    return WebApiError(
        405,
        "0x8006088a",
        f"The requested resource does not support http method '{method}'.",
    )


def not_emulated(what: str) -> WebApiError:
    """Something that the service may do and this emulator does not.

    The code is COM's E_NOTIMPL, which Dataverse does not use for anything else.
    """
    return WebApiError(501, "0x80004001", f"The emulator does not do this: {what}")
