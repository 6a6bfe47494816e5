"""Release and drop rows in quarantine.

A quarantined row is retried when it is due, after twice the wait each time. Releasing
makes it due at once. Dropping makes it never due; a dropped row can be released like any
other. A row leaves the quarantine only when it is delivered.

Every change is one statement in one transaction: it affects all selected rows or none.
"""

from dataclasses import dataclass
from typing import Any
from uuid import UUID

from sqlalchemy import Connection

from apex_pipeline.errors import ApexError, ConfigError

_NAMED_AT_MOST = 20


@dataclass(frozen=True, slots=True)
class QuarantineSelection:
    """Selects rows in quarantine: by id, by cause, or all.

    Attributes:
        ids: Ids in any spelling; dropped rows are included.
        code: Rows last refused with this code.
        matching: Rows whose message contains this text, in any case.
        everything: All rows.
        dropped: Without ids: dropped rows instead of waiting ones.

    Raises:
        ConfigError: The selection is empty or contradictory.
    """

    ids: tuple[str, ...] = ()
    code: str | None = None
    matching: str | None = None
    everything: bool = False
    dropped: bool = False

    def __post_init__(self) -> None:
        is_cause = self.code is not None or self.matching is not None
        if (bool(self.ids), is_cause, self.everything).count(True) != 1:
            raise ConfigError(
                "Select rows in one way: by ids; by error code, message text or both; or "
                "all."
            )
        if self.ids and self.dropped:
            raise ConfigError("Ids select dropped rows too; remove `dropped`.")
        for text in (*self.ids, self.code, self.matching):
            require_storable(text)


@dataclass(frozen=True, slots=True)
class Decision:
    """Why rows are dropped, and who decided it.

    Raises:
        ConfigError: The reason or the name is blank.
    """

    reason: str
    by: str

    def __post_init__(self) -> None:
        for name, text in (("reason", self.reason), ("name", self.by)):
            if not text.strip():
                raise ConfigError(f"Give a {name}; it is stored with the dropped rows.")
            require_storable(text)


_COUNT = """
    SELECT count(*) FILTER (WHERE NOT is_dropped), count(*) FILTER (WHERE is_dropped)
    FROM quarantined_campaign_metrics
"""

# Most frequent code first.
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
"""Selects rows by cause or all; bind it with `bound`."""

# Compare as text: an adopted table may have ids that are not UUIDs.
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
    RETURNING CAST(metric_id AS text)
"""

_DROP = """
    UPDATE campaign_metrics_quarantine
    SET next_attempt_at = 'infinity',
        dropped_at = now(),
        dropped_by = %(by)s,
        drop_reason = %(reason)s
    WHERE metric_id = ANY(%(ids)s)
    RETURNING CAST(metric_id AS text)
"""


def count(connection: Connection) -> tuple[int, int]:
    """Count waiting rows, due or not, and dropped rows."""
    waiting, dropped = connection.exec_driver_sql(_COUNT).one()
    return waiting, dropped


def count_by_code(connection: Connection) -> dict[str, int]:
    """Count waiting rows by error code."""
    return {code: n for code, n in connection.exec_driver_sql(_COUNT_BY_CODE)}  # noqa: C416  rows


def find(connection: Connection, selection: QuarantineSelection) -> list[str]:
    """Return the ids of the selected rows, as Postgres stores them.

    An id matches exactly if possible, otherwise every spelling of the same UUID.

    Raises:
        ApexError: Ids are not in quarantine (the message lists them), or no row has the
            cause.
    """
    if not selection.ids:
        found = connection.exec_driver_sql(_CHOSEN, bound(selection)).scalars().all()
        if not found and not selection.everything:
            raise ApexError(
                "No quarantined row has this cause. List the causes with `apex "
                "quarantine list --by-cause`."
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
            f"{f' and {more} more' if more > 0 else ''}. Nothing was changed. List the "
            "rows with `apex quarantine list`."
        )
    return sorted(set().union(*meant.values()))


def release(connection: Connection, selection: QuarantineSelection) -> list[str]:
    """Make rows due, dropped ones too, and return their ids; attempts are kept.

    Raises:
        ApexError: As `find`; nothing was changed.
    """
    values = {"ids": find(connection, selection)}
    return list(connection.exec_driver_sql(_RELEASE, values).scalars())


def drop(
    connection: Connection, selection: QuarantineSelection, decision: Decision
) -> list[str]:
    """Never send rows until they are released, and return their ids.

    Raises:
        ApexError: As `find`; nothing was changed.
    """
    ids = find(connection, selection)
    values = {"ids": ids, "reason": decision.reason.strip(), "by": decision.by.strip()}
    return list(connection.exec_driver_sql(_DROP, values).scalars())


def bound(selection: QuarantineSelection) -> dict[str, Any]:
    """The values that `OF_CAUSE` binds."""
    return {
        "code": selection.code,
        "matching": selection.matching,
        "dropped": selection.dropped,
    }


def require_storable(text: str | None) -> None:
    """Check that Postgres can store a text.

    Raises:
        ConfigError: The text contains NUL or half of a surrogate pair.
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
        raise ConfigError(f"{text!r:.80} contains a character that is not valid text.")


def _spellings(text: str) -> set[str]:
    """Spellings of an id that Postgres may store, in lower case."""
    try:
        return {text.lower(), str(UUID(text))}
    except ValueError:
        return {text.lower()}
