"""The errors of apex_pipeline, sorted by what ends them.

ApexError
├── ConfigError              fix the environment; nothing was attempted
├── CutoverError             a person decides what happens to another flow's records
├── InvalidRecordError       a record that cannot be written as it stands; mend it
│   └── MalformedRecordError it is not even JSON
├── RecordConflictError      the same id stands for other values already
├── SystemicRejectionError   Dataverse refuses most rows for one cause; mend the cause
├── NoProgressError          a run had work, tried, and achieved nothing; says why
├── DatabaseError
│   ├── DatabaseUnavailableError   Postgres did not answer within the patience given
│   ├── MarkSwallowedError         a trigger, rule or policy undoes our UPDATE
│   ├── SchemaMissingError         run `apex provision database`
│   └── WriterLockLostError        the one-writer lock died; the next run starts over
└── DataverseError           message · status · code · request_id
    ├── TransientError       no answer, 5xx, deadlock: already retried within bounds
    │   ├── InterceptedError something on the way answers in the service's place
    │   └── TooMuchError     given up, here or at a gateway; less may get through
    ├── OutOfTimeError       Dataverse's limits left no room within the time given
    ├── AuthError            no token, 401 after one renewal, 403
    ├── SchemaDriftError     the table, or a column of it, is not there or not ours
    └── RejectedError        this request's data is wrong; sending it again is useless
"""

from datetime import datetime


class ApexError(Exception):
    """Something an operator can mend; its text says how."""


class ConfigError(ApexError):
    """The environment is incomplete or contradictory; nothing was attempted."""

    def __init__(self, *problems: str) -> None:
        """Keep every problem, so that one attempt names them all."""
        super().__init__("\n".join(problems))
        self.problems = problems


class CutoverError(ApexError):
    """Dataverse holds records that this pipeline did not make."""


class InvalidRecordError(ApexError):
    """A record, or a file of them, cannot be written as it stands; nothing was."""

    def __init__(self, *problems: str) -> None:
        """Keep every problem, so that one attempt names them all."""
        super().__init__("\n".join(problems))
        self.problems = problems


class MalformedRecordError(InvalidRecordError):
    """What should be a record is not JSON."""


class RecordConflictError(ApexError):
    """A record has the id of another one, whose values differ; nothing was written.

    Attributes:
        fields: Names of the fields that differ, as the caller spells them.
    """

    def __init__(self, message: str, fields: tuple[str, ...]) -> None:
        """Keep the names for whoever tells them to a program."""
        super().__init__(message)
        self.fields = fields


class SystemicRejectionError(ApexError):
    """Most rows were refused for one and the same cause, which is not the rows'."""

    OF_A_ROW = " Dataverse says of one of them: "
    """What follows this in the text may quote a row."""


class NoProgressError(ApexError):
    """A run had work and tried, and nothing was achieved."""


class DatabaseError(ApexError):
    """Postgres cannot serve the pipeline."""


class DatabaseUnavailableError(DatabaseError):
    """Postgres refused the connection or did not answer in time."""


class MarkSwallowedError(DatabaseError):
    """Postgres took the mark of acknowledged rows, and nothing of it remained."""


class SchemaMissingError(DatabaseError):
    """A table or view of ours is not there."""


class WriterLockLostError(DatabaseError):
    """The connection that holds the one-writer lock no longer answers."""


class DataverseError(ApexError):
    """An answer of Dataverse, or of the token endpoint, that is not success.

    Attributes:
        status: The HTTP status, or None where there was no answer.
        code: Dataverse's hexadecimal code or Entra's AADSTS code, where one was given.
        request_id: The service's own id of the request, for a support case.
    """

    def __init__(
        self,
        message: str,
        *,
        status: int | None = None,
        code: str | None = None,
        request_id: str | None = None,
    ) -> None:
        """Append whatever identifies the answer to the message."""
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
        self.message = message
        self.status = status
        self.code = code
        self.request_id = request_id


class TransientError(DataverseError):
    """The service failed or did not answer, and went on failing while we retried.

    Attributes:
        retry_after: Seconds that the service asked us to wait, where it has done so.
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
        """Keep the wait beside what identifies the answer."""
        super().__init__(message, status=status, code=code, request_id=request_id)
        self.retry_after = retry_after


class InterceptedError(TransientError):
    """A proxy, a gateway or a captive portal answered; the service was not heard."""


class TooMuchError(TransientError):
    """A request was given up before its answer came; a smaller one may get through.

    It may have been carried out all the same.

    Attributes:
        seconds: How long was waited for it.
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
        """Keep the time, which says how slow the service is."""
        super().__init__(message, status=status, code=code, request_id=request_id)
        self.seconds = seconds


class OutOfTimeError(DataverseError):
    """The time given ended before the request could be sent; nothing was lost.

    Attributes:
        retry_at: When Dataverse takes requests again, where it has said so
            (aware, UTC).
    """

    def __init__(self, message: str, *, retry_at: datetime | None = None) -> None:
        """Keep the instant, so that whoever starts the next run can respect it."""
        super().__init__(message)
        self.retry_at = retry_at


class AuthError(DataverseError):
    """The application could not get a token, or may not do what it asked."""


class SchemaDriftError(DataverseError):
    """The Dataverse table is missing, or lacks a column that the pipeline writes."""


class RejectedError(DataverseError):
    """Dataverse understood the request and refused its data."""
