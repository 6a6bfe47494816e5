"""The rows that Dataverse cannot take as they are: put aside, seen, released, dropped.

A row that was refused waits, each time twice as long, and is tried again when it is
due. A person may release it, so that it is due at once, or drop it, so that it is never
due; a dropped row can be released like any other. No row leaves but by being delivered.

Whatever is done to rows is one statement in one transaction: all of them, or none.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import Connection

from apex_pipeline.errors import ApexError, ConfigError
from apex_pipeline.metrics import Rejection

_NAMED_AT_MOST = 20


@dataclass(frozen=True, slots=True)
class Selection:
    """Which rows in quarantine a person means: some by name, all of a cause, or all.

    Attributes:
        ids: Rows by their ids in any spelling, dropped ones too.
        code: Rows that were last refused with this code.
        matching: Rows whose message holds this text, whatever its case.
        everything: All rows.
        dropped: Where rows are not named: those that were dropped, in place of those
            that are tried again.

    Raises:
        ConfigError: No row is meant, or two kinds of choice contradict each other.
    """

    ids: tuple[str, ...] = ()
    code: str | None = None
    matching: str | None = None
    everything: bool = False
    dropped: bool = False

    def __post_init__(self) -> None:
        """See that it means something."""
        is_cause = self.code is not None or self.matching is not None
        if (bool(self.ids), is_cause, self.everything).count(True) != 1:
            raise ConfigError(
                "Say which rows are meant: their ids; or the code of their refusal, a "
                "text that its message holds, or both; or all."
            )
        if self.ids and self.dropped:
            raise ConfigError(
                "Rows that are named by id are meant whether dropped or not; leave "
                "`dropped` out."
            )
        for text in (*self.ids, self.code, self.matching):
            require_storable(text)


@dataclass(frozen=True, slots=True)
class Decision:
    """Why rows are never to be sent, and who says so.

    Raises:
        ConfigError: One of the two is missing.
    """

    reason: str
    by: str

    def __post_init__(self) -> None:
        """See that both say something."""
        for name, text in (("reason", self.reason), ("name", self.by)):
            if not text.strip():
                raise ConfigError(
                    f"A {name} is needed: whoever finds the dropped rows later will "
                    "want to know."
                )
            require_storable(text)


_PUT_ASIDE = """
    INSERT INTO campaign_metrics_quarantine AS known (
        metric_id, code, message, attempts,
        first_rejected_at, last_rejected_at, next_attempt_at
    )
    VALUES (
        %(id)s, %(code)s, %(message)s, 1,
        -- The view compares with the server's clock. A host whose clock runs ahead must
        -- not put a row aside for as long as that, nor one that was set back end in a
        -- violated constraint.
        least(%(at)s, now()), least(%(at)s, now()),
        least(%(at)s, now()) + interval '5 minutes'
    )
    ON CONFLICT (metric_id) DO UPDATE
    SET code = excluded.code,
        message = excluded.message,
        attempts = known.attempts + 1,
        last_rejected_at = greatest(known.first_rejected_at, excluded.last_rejected_at),
        -- Dropped while it was on its way: that stands.
        next_attempt_at = CASE WHEN known.next_attempt_at = 'infinity'
            THEN known.next_attempt_at
            ELSE excluded.last_rejected_at + least(
                interval '5 minutes' * power(2, least(known.attempts, 30)),
                interval '1 day'
            ) END
"""

_COUNT = """
    SELECT count(*) FILTER (WHERE NOT is_dropped), count(*) FILTER (WHERE is_dropped)
    FROM quarantined_campaign_metrics
"""

# The commonest first.
_COUNT_BY_CODE = """
    SELECT code, count(*) FROM quarantined_campaign_metrics
    WHERE NOT is_dropped
    GROUP BY code
    ORDER BY 2 DESC, 1
"""

OF_CAUSE = """
    FROM quarantined_campaign_metrics
    WHERE is_dropped = %(dropped)s
        AND (CAST(%(code)s AS text) IS NULL OR lower(code) = lower(%(code)s))
        AND (CAST(%(matching)s AS text) IS NULL
            OR position(lower(%(matching)s) IN lower(message)) > 0)
"""
"""Rows that are not named; binds what `bound` gives."""

# As text, for an adopted table's ids may be no UUIDs, and then these are here.
_NAMED = """
    SELECT CAST(metric_id AS text) FROM quarantined_campaign_metrics
    WHERE lower(CAST(metric_id AS text)) = ANY(%(spellings)s)
"""

_CHOSEN = f"SELECT CAST(metric_id AS text) {OF_CAUSE}"

_RELEASE = """
    UPDATE campaign_metrics_quarantine
    SET next_attempt_at = now(),
        dropped_at = NULL,
        dropped_by = NULL,
        drop_reason = NULL
    WHERE metric_id = ANY(%(ids)s)
"""

_DROP = """
    UPDATE campaign_metrics_quarantine
    SET next_attempt_at = 'infinity',
        dropped_at = now(),
        dropped_by = %(by)s,
        drop_reason = %(reason)s
    WHERE metric_id = ANY(%(ids)s)
"""


def put_aside(
    connection: Connection, rejections: Sequence[Rejection], at: datetime
) -> None:
    """Put rows aside, each time twice as long."""
    rows = [
        # Text in Postgres holds no NUL.
        {"id": r.id, "code": r.code, "message": r.message.replace("\0", ""), "at": at}
        for r in rejections
    ]
    if rows:
        connection.exec_driver_sql(_PUT_ASIDE, rows)


def count(connection: Connection) -> tuple[int, int]:
    """Count the rows that are tried again, due or not, and those that were dropped."""
    waiting, dropped = connection.exec_driver_sql(_COUNT).one()
    return waiting, dropped


def count_by_code(connection: Connection) -> dict[str, int]:
    """Count the rows that are tried again by why they were refused."""
    return {code: n for code, n in connection.exec_driver_sql(_COUNT_BY_CODE)}  # noqa: C416  rows


def find(connection: Connection, selection: Selection) -> list[str]:
    """The ids of the rows that are meant, as they stand in Postgres.

    A name is first taken as it is written. If no row is called that, every row is meant
    whose id is the same UUID in another spelling.

    Raises:
        ApexError: Some of the named rows are not in quarantine, or no row has the
            cause; all of them are named.
    """
    if not selection.ids:
        found = connection.exec_driver_sql(_CHOSEN, bound(selection)).scalars().all()
        if not found and not selection.everything:
            raise ApexError(
                "No row in quarantine was refused for this cause. `apex quarantine list "
                "--by-cause` shows the causes."
            )
        return list(found)
    spellings = {text: _spellings(text) for text in selection.ids}
    wanted = {"spellings": sorted(set().union(*spellings.values()))}
    there = set(connection.exec_driver_sql(_NAMED, wanted).scalars())
    meant = {
        text: {text} & there or {one for one in there if one.lower() in spelled}
        for text, spelled in spellings.items()
    }
    unknown = [repr(text) for text, ids in meant.items() if not ids]
    if unknown:
        more = len(unknown) - _NAMED_AT_MOST
        raise ApexError(
            f"Not in quarantine: {', '.join(unknown[:_NAMED_AT_MOST])}"
            f"{f' and {more} more' if more > 0 else ''}. Nothing was changed. `apex "
            "quarantine list` shows what is there."
        )
    return sorted(set().union(*meant.values()))


def release(connection: Connection, selection: Selection) -> int:
    """Make rows due, dropped ones too; they keep their attempts. Returns how many.

    Raises:
        ApexError: As `find`; then nothing was changed.
    """
    values = {"ids": find(connection, selection)}
    return connection.exec_driver_sql(_RELEASE, values).rowcount


def drop(connection: Connection, selection: Selection, decision: Decision) -> int:
    """See that rows are never sent, until they are released. Returns how many.

    Raises:
        ApexError: As `find`; then nothing was changed.
    """
    ids = find(connection, selection)
    values = {"ids": ids, "reason": decision.reason.strip(), "by": decision.by.strip()}
    return connection.exec_driver_sql(_DROP, values).rowcount


def bound(selection: Selection) -> dict[str, Any]:
    """What a choice of rows that are not named binds."""
    return {
        "code": selection.code,
        "matching": selection.matching,
        "dropped": selection.dropped,
    }


def require_storable(text: str | None) -> None:
    """See that a text can travel to Postgres at all.

    Raises:
        ConfigError: It holds a NUL, or half of a character.
    """
    if text is None:
        return
    try:
        text.encode()
    except UnicodeEncodeError:
        broken = True
    else:
        broken = "\0" in text
    if broken:
        raise ConfigError(f"{text!r:.80} holds a character that no text can hold.")


def _spellings(text: str) -> set[str]:
    """How an id may stand in Postgres, in small letters."""
    try:
        return {text.lower(), str(UUID(text))}
    except ValueError:
        return {text.lower()}
