"""The errors of apex_pipeline, sorted by remedy.

ApexError
├── ConfigError              fix the environment; nothing was attempted
├── CutoverError             decide what happens to another flow's records
├── InvalidRecordError       a record that cannot be written as it stands; mend it
│   └── MalformedRecordError it is not even JSON
├── RecordConflictError      the same id stands for other values already
├── SystemicRejectionError   Dataverse refuses most rows for one cause; mend the cause
├── LineageError             the receiver of lineage took none; it is sent again
├── NoProgressError          a run had work, tried, and achieved nothing; says why
├── DatabaseError
│   ├── DatabaseUnavailableError   Postgres did not answer in time
│   ├── MarkSwallowedError         a trigger, rule or policy undoes our UPDATE
│   ├── SchemaMissingError         run `apex provision database`
│   └── WriterLockLostError        the one-writer lock was lost; the next run starts over
└── DataverseError           message · status · code · request_id
    ├── TransientError       no answer, 5xx, deadlock: already retried within bounds
    │   ├── InterceptedError a proxy or gateway answered instead of the service
    │   └── TooMuchError     timed out, here or at a gateway; a smaller request may pass
    ├── OutOfTimeError       throttling left no time within the budget
    ├── AuthError            no token, 401 after one renewal, 403
    ├── SchemaDriftError     the table or a column is missing or differs
    └── RejectedError        the data of the request is wrong; do not retry
"""

from datetime import datetime

from apex_pipeline.texts.redaction import redact
from apex_pipeline.texts.storable_text import storable


def _kept(message: str) -> str:
    return storable(redact(message))


def install_extra(extra: str) -> str:
    """The remedy where an optional library is missing; no index has the package itself."""
    return (
        f"Install the extra {extra}: `pip install '.[{extra}]'` in a checkout, or "
        f"`pip install 'WHEEL[{extra}]'` with the path of the wheel."
    )


class ApexError(Exception):
    """An error that an operator can fix; the message says how, and holds no secret.

    It can be stored: the end of a run is written with it.
    """

    def __init__(self, message: str = "") -> None:
        """Keep the message without what others may have put into it."""
        super().__init__(_kept(message))


class ConfigError(ApexError):
    """The environment is incomplete or contradictory; nothing was attempted.

    Attributes:
        problems: All problems, one sentence each.
    """

    def __init__(self, *problems: str) -> None:
        super().__init__("\n".join(problems))
        self.problems = tuple(map(_kept, problems))


class CutoverError(ApexError):
    """Dataverse holds records that another flow created."""


class InvalidRecordError(ApexError):
    """A record, or a file of records, is invalid; nothing was written.

    Attributes:
        problems: All problems, one sentence each.
    """

    def __init__(self, *problems: str) -> None:
        super().__init__("\n".join(problems))
        self.problems = tuple(map(_kept, problems))


class MalformedRecordError(InvalidRecordError):
    """A record is not valid JSON."""


class RecordConflictError(ApexError):
    """Another record with this id has different values; nothing was written.

    Attributes:
        fields: Names of the fields that differ, in the caller's spelling.
    """

    def __init__(self, message: str, fields: tuple[str, ...]) -> None:
        """Keep the field names for structured answers such as the API's."""
        super().__init__(message)
        self.fields = fields


class SystemicRejectionError(ApexError):
    """Dataverse refused most rows with one error, which is not about the rows."""

    OF_A_ROW = " Dataverse says of one of them: "
    """The part of the message after this may quote a row."""


class NoProgressError(ApexError):
    """A run had work, tried it, and achieved nothing."""


class LineageError(ApexError):
    """The receiver of lineage did not take an event; it is sent again."""


class DatabaseError(ApexError):
    """Postgres cannot serve the pipeline."""


class DatabaseUnavailableError(DatabaseError):
    """Postgres refused the connection or did not answer in time."""


class MarkSwallowedError(DatabaseError):
    """Postgres accepted the mark of acknowledged rows but did not keep it."""


class SchemaMissingError(DatabaseError):
    """One of our tables or views is missing."""


class WriterLockLostError(DatabaseError):
    """The connection that holds the one-writer lock no longer answers."""


class DataverseError(ApexError):
    """Dataverse or the token endpoint did not answer with success.

    Attributes:
        message: The message without the identifiers.
        status: HTTP status; None if there was no answer.
        code: Dataverse's hexadecimal code or Entra's AADSTS code, if given.
        request_id: The service's id of the request, for a support case.
    """

    def __init__(
        self,
        message: str,
        *,
        status: int | None = None,
        code: str | None = None,
        request_id: str | None = None,
    ) -> None:
        """Append status, code and request id to the message."""
        identity = [
            f"{name} {value}"
            for name, value in (
                ("HTTP", status),
                ("code", code),
                ("request", request_id),
            )
            if value is not None
        ]
        super().__init__(f"{message} ({', '.join(identity)})" if identity else message)
        self.message = _kept(message)
        self.status = status
        self.code = code
        self.request_id = request_id


class TransientError(DataverseError):
    """The service failed or did not answer, and retries did not help.

    Attributes:
        retry_after: Seconds that the service asked us to wait, if it did.
    """

    def __init__(
        self,
        message: str,
        *,
        status: int | None = None,
        code: str | None = None,
        request_id: str | None = None,
        retry_after: float | None = None,
    ) -> None:
        super().__init__(message, status=status, code=code, request_id=request_id)
        self.retry_after = retry_after


class InterceptedError(TransientError):
    """A proxy, gateway or captive portal answered instead of the service."""


class TooMuchError(TransientError):
    """A request timed out; a smaller one may succeed.

    The service may have carried it out nevertheless.

    Attributes:
        seconds: How long we waited for the answer.
    """

    def __init__(
        self,
        message: str,
        *,
        seconds: float,
        status: int | None = None,
        code: str | None = None,
        request_id: str | None = None,
    ) -> None:
        super().__init__(message, status=status, code=code, request_id=request_id)
        self.seconds = seconds


class OutOfTimeError(DataverseError):
    """Time ran out before the request could be sent; no data was lost.

    Attributes:
        retry_at: When Dataverse accepts requests again (UTC), if it said so itself.
    """

    def __init__(self, message: str, *, retry_at: datetime | None = None) -> None:
        """Keep the instant before which no run should start."""
        super().__init__(message)
        self.retry_at = retry_at


class AuthError(DataverseError):
    """The application could not get a token, or lacks a privilege."""


class SchemaDriftError(DataverseError):
    """The Dataverse table is missing, or lacks a column that the pipeline writes."""


class RejectedError(DataverseError):
    """Dataverse understood the request and refused its data."""
