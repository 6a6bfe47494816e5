"""How long the simulated service takes, and what it charges as execution time.

`dev` is fitted to third-party measurements of a developer organisation with
UpsertMultiple (25 ms a row by primary key, 62 ms by alternate key) and of a sandbox
with CreateMultiple (50 ms and 6.5 ms a row; 120 ms for a single request). `production`
halves the fixed part and takes CreateMultiple's rate for all bulk writes. No figure is
Microsoft's.
"""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Profile:
    """Seconds per request and per row.

    Attributes:
        request: Fixed part of any request.
        single: A write of one record, all in all.
        create: Each row of CreateMultiple or UpdateMultiple.
        upsert: Each row of UpsertMultiple by primary key.
        upsert_by_key: Each row of UpsertMultiple by alternate key.
        read: Each row read.
    """

    request: float = 0
    single: float = 0
    create: float = 0
    upsert: float = 0
    upsert_by_key: float = 0
    read: float = 0

    def seconds(self, method: str, path: str, body: bytes) -> float:
        """What a request takes, judged before it is carried out."""
        if self == NONE:
            return 0
        if path == "$batch":
            operations = body.count(b"HTTP/1.1")
            return self.request + operations * self.single
        if path.endswith("Multiple"):
            rows, by_key = body.count(b"@odata.type"), body.count(b"@odata.id")
            if not path.endswith("UpsertMultiple"):
                return self.request + rows * self.create
            by_id = (rows - by_key) * self.upsert
            return self.request + by_id + by_key * self.upsert_by_key
        return self.request if method == "GET" else self.single


NONE = Profile()

PROFILES = {
    "none": NONE,
    "dev": Profile(0.05, 0.12, 0.0065, 0.025, 0.062, 0.0001),
    "production": Profile(0.025, 0.06, 0.0065, 0.0065, 0.016, 0.00005),
}
"""By name, as on the command line."""

DOP_HINTS = {"none": 4, "dev": 4, "production": 50}
"""`x-ms-dop-hint` as seen on such organisations."""
