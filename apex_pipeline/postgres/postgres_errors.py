"""Translate errors of Postgres and its poolers, with what to do about them."""

import re

import psycopg
from psycopg import errors

from apex_pipeline.errors import (
    DatabaseError,
    DatabaseUnavailableError,
    SchemaMissingError,
)
from apex_pipeline.postgres.timed_connection import HeldLockError, NoAnswerError

_TLS = "Add sslmode=require to DATABASE_URL."
_PLAN = "Choose a larger plan, or wait until the quota is renewed."

# Refusals that waiting does not end. A failed connection carries no SQLSTATE, only text,
# from Postgres, libpq, Neon's proxy or PgBouncer. The first match decides.
_REFUSALS = {
    "authentication failed": "Check the user and the password in DATABASE_URL.",
    "no password supplied": "Put the password into DATABASE_URL.",
    "is not permitted to log in": "Name a user with LOGIN in DATABASE_URL.",
    "no encryption": f"The server accepts this user over TLS only. {_TLS}",
    "SSL off": f"The server accepts this user over TLS only. {_TLS}",
    "connection is insecure": f"The server requires TLS. {_TLS}",
    "SSL required": f"The pooler requires TLS. {_TLS}",
    "SSL connection is required": f"The server requires TLS. {_TLS}",
    **dict.fromkeys(
        ("no pg_hba.conf entry", "pg_hba.conf rejects"),
        "The server accepts this user from other addresses only. Have this machine's "
        "address added to pg_hba.conf.",
    ),
    "is not allowed to connect": "Add this machine's address to the IP allow list of "
    "the project.",
    "endpoint could not be found": "Check the host in DATABASE_URL: the endpoint was "
    "deleted or belongs to another project.",
    "project could not be found": "Check the host in DATABASE_URL.",
    "branch could not be found": "Check the host in DATABASE_URL.",
    "endpoint has been disabled": "Enable the endpoint in the provider's console.",
    "Endpoint ID is not specified": "Check the host in DATABASE_URL.",
    "compute time quota": _PLAN,
    "data transfer quota": _PLAN,
    "written data quota": _PLAN,
    "exceeded the quota": _PLAN,
    "limit of concurrently active endpoints": "Suspend another endpoint of the "
    "project, or have the limit raised.",
    "unsupported startup parameter": "Remove the parameter from DATABASE_URL: the "
    "pooler does not accept it, although the server may.",
    "unrecognized configuration parameter": "Remove the parameter from DATABASE_URL.",
    # Supabase's pooler.
    "Tenant or user not found": "Check the user and the host in DATABASE_URL.",
    "no such user": "Check the user in DATABASE_URL.",
    "no such database": "Check the database in DATABASE_URL.",
    "is disabled": "Enable the database in the pooler.",
    "is not currently accepting connections": "Have the database accept connections "
    "again (ALTER DATABASE … ALLOW_CONNECTIONS true).",
    "does not exist": "Check the user and the database in DATABASE_URL.",
    "permission denied for database": "Grant the user CONNECT on the database.",
    "does not support SSL": "Check sslmode in DATABASE_URL.",
    "certificate verify failed": "Check sslmode and sslrootcert in DATABASE_URL.",
    "root certificate file": "Check sslrootcert in DATABASE_URL.",
    "does not match host name": "Check the host in DATABASE_URL, or sslmode.",
    "requires a valid client certificate": "Name one by sslcert and sslkey in "
    "DATABASE_URL.",
    "private key file": "Check sslcert and sslkey in DATABASE_URL.",
    "certificate file": "Check sslcert and sslkey in DATABASE_URL.",
    "channel binding": "Check sslmode and channel_binding in DATABASE_URL.",
    "authentication method requirement": "Check require_auth in DATABASE_URL.",
    "could not match": "Give one port, or one port for each host, in DATABASE_URL.",
    "invalid ": "Check the parameters in DATABASE_URL.",
}

# These pass when others close connections, so they are retried like a lack of answer.
_NO_SLOT = re.compile(
    r"too many clients|connection slots are reserved|too many connections"
    r"|no more connections allowed|connections exceeded|query_wait_timeout"
    # Supabase's pooler.
    r"|max clients reached|max client connections reached",
    re.IGNORECASE,
)

# idle_in_transaction_session_timeout, which we set, and transaction_timeout.
_ENDED_IN_TIME = frozenset({"25P03", "25P04"})

_AGAIN = "You can retry."
_UNFINISHED = "Postgres at {address} did not finish a statement: {said}. " + _AGAIN
_INSIDE = (
    "Postgres at {address} had an internal failure: {said}. Check its disk and its log; "
    "the next run continues."
)
_REFUSED = (
    "Postgres at {address} rejected a statement: {said}{origin}. A constraint, a "
    "trigger, a view or a column's type there prevents it."
)

# By the class of the SQLSTATE: Postgres' documentation, appendix A.
_BY_CLASS = dict.fromkeys(
    ("09", "0A", "22", "23", "27", "2F", "38", "39", "44", "55"), _REFUSED
) | {
    "42": "Postgres at {address} cannot run a statement: {said}{origin}. A table or a "
    "column there is not what the pipeline expects; `apex doctor` compares them.",
    "53": _INSIDE,
    "54": "A statement is beyond the limits of Postgres at {address}: {said}{origin}. It "
    "fails each time. Look for a trigger, a view or an index there that makes it so large.",
    "58": _INSIDE,
    "P0": "{said} (at {address}).",
    "XX": _INSIDE,
}


def connection_refused(
    error: psycopg.Error, address: str, variable: str
) -> DatabaseError | None:
    """The error for a refusal that waiting does not end; None if waiting may help."""
    text = str(error)
    found = next((r for t, r in _REFUSALS.items() if t in text), None)
    if found is None:
        return None
    remedy = found.replace("DATABASE_URL", variable)
    return DatabaseError(
        f"Postgres at {address} refuses the connection: {reason(error)}. {remedy}"
    )


def not_connected(error: psycopg.Error, address: str) -> DatabaseUnavailableError:
    """The error for a server that could not be reached in time."""
    if _NO_SLOT.search(str(error)):
        return DatabaseUnavailableError(
            f"All connection slots of Postgres at {address} are used up: "
            f"{reason(error)}. Close idle sessions, connect through a pooler, or have "
            "the limit raised."
        )
    return DatabaseUnavailableError(
        f"Postgres at {address} does not answer: {reason(error)}. Check that it runs "
        "and that this machine can reach it."
    )


def translated(
    error: psycopg.Error, address: str, variable: str
) -> DatabaseError | None:
    """Translate a statement's error; None for a programming bug on our side."""
    found = _of_limits(error) or _of_schema(error) or _of_class(error)
    if found is None:
        return None
    kind, text = found
    return kind(
        text.format(
            address=address,
            variable=variable,
            said=reason(error),
            origin=_origin(error),
            holders=error.holders if isinstance(error, HeldLockError) else "",
        )
    )


_Found = tuple[type[DatabaseError], str] | None


def _of_limits(error: psycopg.Error) -> _Found:
    match error:
        case HeldLockError():
            who = "{holders} holds it" if error.holders else "its holder is not visible"
            text = (
                "Another session held a lock at {address} for too long: "
                f"{who} ({{said}}). End that session, or wait for it. {_AGAIN}"
            )
        case NoAnswerError():
            text = (
                "Postgres at {address} does not answer on an open connection: {said}. "
                f"The server hangs, or the network connection is broken. {_AGAIN}"
            )
        case errors.QueryCanceled():
            text = (
                "Postgres at {address} took too long: {said}. Check its load, and look "
                f"for missing indexes. {_AGAIN}"
            )
        case _ if error.sqlstate in _ENDED_IN_TIME:
            text = (
                "Postgres at {address} undid a transaction that took too long: {said}. "
                "This process was paused, or its machine is too busy, or the server's "
                f"transaction_timeout is too short. {_AGAIN}"
            )
        case _:
            return None
    return DatabaseUnavailableError, text


def _of_schema(error: psycopg.Error) -> _Found:
    match error:
        case errors.UndefinedColumn():
            return SchemaMissingError, (
                "The database {address} lacks a column: {said}. Run `apex provision "
                "database`. If that finds nothing missing, the column was renamed or "
                "dropped: restore it under its name."
            )
        case errors.UndefinedTable() | errors.InvalidSchemaName():
            return SchemaMissingError, (
                "The database {address} lacks a table that the pipeline needs: {said}. "
                "Run `apex provision database`."
            )
        case errors.FeatureNotSupported() if _is_of_a_rule(error):
            return DatabaseError, (
                "A rule at {address} puts something in the place of what was asked: "
                "{said}{origin}. Nothing was changed. `SELECT tablename, rulename FROM "
                "pg_rules` names it; drop it, or make it a trigger."
            )
        case errors.InsufficientPrivilege():
            return DatabaseError, (
                "The user of {variable} lacks a privilege at {address}: {said}. Grant "
                "it, or use the role that owns the tables."
            )
        case errors.ReadOnlySqlTransaction():
            return DatabaseError, (
                "The database {address} is read-only: {said}. {variable} must name the "
                "primary, not a replica."
            )
    return None


def _is_of_a_rule(error: psycopg.Error) -> bool:
    """Whether a rule is why Postgres cannot do it; rewriteHandler.c has the texts."""
    said = f"{error.diag.message_primary} {error.diag.message_hint}"
    return re.search(r"\brules?\b", said) is not None


def _of_class(error: psycopg.Error) -> _Found:
    text = _BY_CLASS.get((error.sqlstate or "")[:2])
    match error:
        case _ if text is not None:
            return DatabaseError, text
        case psycopg.OperationalError():
            return DatabaseUnavailableError, _UNFINISHED
        case psycopg.DataError() if error.sqlstate is None:
            # psycopg's own error for a value that Python cannot represent.
            return DatabaseError, (
                "Postgres at {address} holds a value that cannot be read: {said}. "
                "Correct it there."
            )
        case psycopg.InternalError():
            return DatabaseError, _INSIDE
        case _ if error.sqlstate is not None:
            return DatabaseError, _REFUSED
    return None


def _origin(error: psycopg.Error) -> str:
    """Where in the server the error arose, and its hint; never a row's values."""
    diag = error.diag
    told = []
    if diag.context and diag.context.startswith("PL/"):
        # The function of a trigger, and the line; other contexts may quote values.
        told.append(diag.context.splitlines()[0])
    if diag.constraint_name:
        told.append(f"constraint {diag.constraint_name}")
    if diag.message_hint:
        told.append(diag.message_hint.rstrip("."))
    return f" ({'; '.join(told)})" if told else ""


def is_worth_repeating(
    error: BaseException | None, *, is_repeatable: bool, is_first: bool
) -> bool:
    """Whether to retry a transaction after an error.

    Args:
        error: The driver's error.
        is_repeatable: Whether running the transaction twice is harmless.
        is_first: Whether this was its first attempt.
    """
    match error:
        case errors.DeadlockDetected() | errors.SerializationFailure():
            # It was rolled back, so nothing happens twice.
            return True
        case psycopg.Error() if error.sqlstate in _ENDED_IN_TIME:
            # It was rolled back too, but each attempt may take as long.
            return is_first
        case HeldLockError() | NoAnswerError() | errors.QueryCanceled():
            return False
        case psycopg.OperationalError():
            # The connection is lost, or the server is being restarted.
            is_lost = (error.sqlstate or "08")[:2] in {"08", "57"}
            return is_repeatable and is_first and is_lost
    return False


def reason(error: psycopg.Error) -> str:
    """The server's own message, without its final period."""
    text = error.diag.message_primary or str(error).strip() or type(error).__name__
    return text.splitlines()[0].removeprefix("connection failed: ").rstrip(".")
