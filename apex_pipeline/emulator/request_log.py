"""What was asked, for tests to look at. Neither bodies nor tokens are kept."""

from collections import deque
from collections.abc import Iterator
from dataclasses import asdict, dataclass

_KEPT = 100_000


@dataclass(slots=True)
class Entry:
    """One request.

    Attributes:
        at: When it came, seconds since the epoch.
        method: HTTP method.
        path: Decoded path, without the query.
        query: Query string as sent.
        status: HTTP status of the answer; 0 where the connection was dropped.
        targets: Records in the body or the answer; operations of a batch.
        seconds: How long the answer took.
        server: Web server that answered.
        application: Client id of the token, where it was valid.
        code: Dataverse's code of a refusal; of a batch, those of its parts by commas.
        fault: Kind of the fault that struck.
    """

    at: float
    method: str
    path: str
    query: str = ""
    status: int = 0
    targets: int = 0
    seconds: float = 0
    server: int = 0
    application: str | None = None
    code: str | None = None
    fault: str | None = None


class RequestLog:
    """The last hundred thousand requests."""

    def __init__(self) -> None:
        self._entries: deque[Entry] = deque(maxlen=_KEPT)

    def add(self, entry: Entry) -> Entry:
        """Append; the entry is filled in as the answer takes shape."""
        self._entries.append(entry)
        return entry

    def clear(self) -> None:
        """Forget all."""
        self._entries.clear()

    def __iter__(self) -> Iterator[dict[str, object]]:
        return (asdict(entry) for entry in list(self._entries))


def count_targets(method: str, path: str, body: bytes) -> int:
    """How many records a request is about, judged by its body."""
    if path.endswith("$batch"):
        return body.count(b" HTTP/1.1")
    if path.endswith("Multiple"):
        return body.count(b'"@odata.type"')
    return 0 if method == "GET" else 1
