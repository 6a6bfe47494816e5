"""The rows that Dataverse cannot take as they are: put aside, seen, released, dropped.

A row that was refused waits, each time twice as long, and is tried again when it is
due. A person may release it, so that it is due at once, or drop it, so that it is never
due; a dropped row can be released like any other. No row leaves but by being delivered.

Whatever is done to rows is one statement in one transaction: all of them, or none.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

from sqlalchemy import Connection

from apex_pipeline.errors import ApexError, ConfigError
from apex_pipeline.metrics import Rejection

EXAMPLES = 3
"""How many ids stand for the rows of a cause."""

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


@dataclass(frozen=True, slots=True)
class QuarantinedRow:
    """One row in quarantine; times are UTC.

    The comments on the columns of `campaign_metrics_quarantine` say what each is.

    Attributes:
        next_attempt_at: None for a row that was dropped.
    """

    id: str
    code: str
    message: str
    attempts: int
    first_rejected_at: datetime
    last_rejected_at: datetime
    next_attempt_at: datetime | None
    dropped_at: datetime | None
    dropped_by: str | None
    drop_reason: str | None


@dataclass(frozen=True, slots=True)
class Cause:
    """Rows that were refused for one and the same cause; times are UTC.

    Attributes:
        message: What their messages have in common; numbers and ids show as `…`.
        oldest_rejected_at: When the first of them was refused for the first time.
        next_attempt_at: When the first of them is tried again; None for dropped ones.
        example_ids: Some of them, the oldest.
    """

    code: str
    message: str
    count: int
    oldest_rejected_at: datetime
    next_attempt_at: datetime | None
    example_ids: tuple[str, ...]


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

_OF_CAUSE = """
    FROM quarantined_campaign_metrics
    WHERE is_dropped = %(dropped)s
        AND (CAST(%(code)s AS text) IS NULL OR lower(code) = lower(%(code)s))
        AND (CAST(%(matching)s AS text) IS NULL
            OR position(lower(%(matching)s) IN lower(message)) > 0)
"""

# As text, for an adopted table's ids may be no UUIDs, and then these are here.
_NAMED = """
    SELECT CAST(metric_id AS text) FROM quarantined_campaign_metrics
    WHERE lower(CAST(metric_id AS text)) = ANY(%(spellings)s)
"""

_CHOSEN = f"SELECT CAST(metric_id AS text) {_OF_CAUSE}"

_ROW = """
    SELECT CAST(metric_id AS text) AS id, code, message, attempts,
        first_rejected_at, last_rejected_at,
        -- Python knows no infinity.
        nullif(next_attempt_at, 'infinity') AS next_attempt_at,
        dropped_at, dropped_by, drop_reason
"""

_ROWS_NAMED = f"""{_ROW}
    FROM quarantined_campaign_metrics
    WHERE metric_id = ANY(%(ids)s)
    ORDER BY metric_id
"""

_ROWS_OF_CAUSE = f"""{_ROW} {_OF_CAUSE}
    ORDER BY quarantined_campaign_metrics.first_rejected_at,
        quarantined_campaign_metrics.metric_id
    LIMIT %(limit)s OFFSET %(offset)s
"""

_CAUSES = f"""
    SELECT code,
        regexp_replace(
            message,
            '[0-9a-f]{{8}}(-[0-9a-f]{{4}}){{3}}-[0-9a-f]{{12}}|-?[0-9]+([.:-]?[0-9]+)*',
            '…', 'gi'
        ) AS message,
        count(*) AS count,
        min(first_rejected_at) AS oldest_rejected_at,
        nullif(min(next_attempt_at), 'infinity') AS next_attempt_at,
        (array_agg(
            CAST(metric_id AS text) ORDER BY first_rejected_at, metric_id
        ))[1:{EXAMPLES}] AS example_ids
    {_OF_CAUSE}
    GROUP BY 1, 2
    ORDER BY 3 DESC, 1, 2
    LIMIT %(limit)s OFFSET %(offset)s
"""

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


def find(connection: Connection, selection: Selection) -> list[str]:
    """The ids of the rows that are meant, as they stand in Postgres.

    A name is first taken as it is written. If no row is called that, every row is meant
    whose id is the same UUID in another spelling.

    Raises:
        ApexError: Some of the named rows are not in quarantine, or no row has the
            cause; all of them are named.
    """
    if not selection.ids:
        found = connection.exec_driver_sql(_CHOSEN, _chosen(selection)).scalars().all()
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


def rows(
    connection: Connection, selection: Selection, limit: int, offset: int
) -> list[QuarantinedRow]:
    """Read the rows of a cause, or all, by when they were refused first."""
    values = _chosen(selection) | {"limit": limit, "offset": offset}
    return _rows(connection, _ROWS_OF_CAUSE, values)


def named(connection: Connection, text: str) -> list[QuarantinedRow]:
    """Read the row with this id; several where their ids differ in case alone.

    Raises:
        ApexError: It is not in quarantine.
    """
    ids = find(connection, Selection(ids=(text,)))
    return _rows(connection, _ROWS_NAMED, {"ids": ids})


def causes(
    connection: Connection, selection: Selection, limit: int, offset: int
) -> list[Cause]:
    """Read the causes, the commonest first."""
    values = _chosen(selection) | {"limit": limit, "offset": offset}
    found = connection.exec_driver_sql(_CAUSES, values).mappings()
    return [
        Cause(**_in_utc(row) | {"example_ids": tuple(row["example_ids"])})
        for row in found
    ]


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


def _rows(
    connection: Connection, statement: str, values: dict[str, Any]
) -> list[QuarantinedRow]:
    found = connection.exec_driver_sql(statement, values).mappings()
    return [QuarantinedRow(**_in_utc(row)) for row in found]


def _chosen(selection: Selection) -> dict[str, Any]:
    return {
        "code": selection.code,
        "matching": selection.matching,
        "dropped": selection.dropped,
    }


def _in_utc(row: Mapping[Any, Any]) -> dict[str, Any]:
    """Times as they are written elsewhere; a connection has a zone of its own."""
    return {
        str(name): value.astimezone(UTC) if isinstance(value, datetime) else value
        for name, value in row.items()
    }
