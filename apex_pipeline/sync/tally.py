"""The counts of a stream of rows."""

from collections import deque
from dataclasses import dataclass, field

from apex_pipeline.errors import ApexError, OutOfTimeError
from apex_pipeline.sync.delivery_outcome import RequestTiming

PREVIEW_ROWS = 10


@dataclass(slots=True)
class Tally:
    """The counts of a stream so far.

    Attributes:
        rows_read: Rows read.
        delivered: Rows acknowledged by Dataverse and marked.
        changed: Acknowledged rows that changed meanwhile; they stay pending.
        deleted: Acknowledged rows that are gone.
        locked: Rows that another transaction held when their outcome was known: they
            stay as they were, pending or exported.
        rejected: Rows rejected, here or there, and quarantined.
        failure: What stopped it, if anything did.
        out_of_time: That Dataverse's limits stopped it, and until when.
        too_much: The last request that failed, possibly because it was too large.
        preview: The last rows delivered, as JSON objects.
    """

    rows_read: int = 0
    delivered: int = 0
    changed: int = 0
    deleted: int = 0
    locked: int = 0
    rejected: int = 0
    failure: ApexError | None = None
    out_of_time: OutOfTimeError | None = None
    too_much: RequestTiming | None = None
    preview: deque[str] = field(default_factory=lambda: deque(maxlen=PREVIEW_ROWS))
