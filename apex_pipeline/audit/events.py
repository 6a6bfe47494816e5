"""What an event of the audit trail says."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from hashlib import sha256
from typing import Any

from apex_pipeline.audit.canonical_json import Json
from apex_pipeline.texts.storable_text import storable_document

ROWS_NAMED = 1000
"""The most row ids that one event names; of more it keeps a digest."""


class Action(StrEnum):
    """What was done; the table's constraint holds the same list."""

    ACCEPT_DUPLICATES = "accept_duplicates"
    ADOPT = "adopt"
    ALLOW_DELIVERY = "allow_delivery"
    ANCHOR = "anchor"
    CHANGE_SETTINGS = "change_settings"
    DROP = "drop"
    EXPORT = "export"
    NAME_CAMPAIGNS = "name_campaigns"
    PROVISION = "provision"
    PRUNE = "prune"
    PURGE = "purge"
    RECORD = "record"
    RELEASE = "release"
    REPAIR = "repair"
    RESEND = "resend"
    SILENCE = "silence"
    SYNC = "sync"


class Outcome(StrEnum):
    """How an act ended."""

    DONE = "done"
    FAILED = "failed"
    INTERRUPTED = "interrupted"


@dataclass(frozen=True, slots=True)
class Author:
    """Who acts.

    Attributes:
        actor: User, schedule, sensor, or fingerprint of a token; never empty.
        run_id: Run in Dagster; None outside a run.
    """

    actor: str
    run_id: str | None = None


@dataclass(frozen=True, slots=True)
class Event:
    """One act, before it has a place in the trail.

    Never holds a metric's value or a secret.

    Attributes:
        subject: What it was done to, by kind.
        counts: How much, by name.
        before: Values before it, by name; settings by their fingerprint.
        after: Values after it, likewise.
        reason: Why, in the words of the author.
    """

    action: Action
    author: Author
    subject: Mapping[str, Json] = field(default_factory=dict)
    counts: Mapping[str, int] = field(default_factory=dict)
    before: Mapping[str, Json] = field(default_factory=dict)
    after: Mapping[str, Json] = field(default_factory=dict)
    reason: str | None = None
    outcome: Outcome = Outcome.DONE

    def as_json(self) -> str:
        """The event as a JSON object, for a table that keeps it until it is appended."""
        parts = {
            "action": self.action,
            "actor": self.author.actor,
            "run_id": self.author.run_id,
            "subject": self.subject,
            "counts": self.counts,
            "before": self.before,
            "after": self.after,
            "reason": self.reason,
        }
        return json.dumps(storable_document(parts), allow_nan=False)

    @classmethod
    def of_json(cls, kept: Mapping[str, Any]) -> "Event":
        """The event that `as_json` wrote.

        Raises:
            LookupError: A part is missing.
            TypeError: It is no such object.
            ValueError: A part has another shape.
        """
        texts = [kept["actor"], kept["run_id"], kept["reason"]]
        subject, counts, before, after = objects = [
            kept[name] for name in ("subject", "counts", "before", "after")
        ]
        if (
            not kept["actor"]
            or not all(isinstance(each, str) for each in texts if each is not None)
            or not all(isinstance(each, dict) for each in objects)
        ):
            raise ValueError("no event")
        author = Author(kept["actor"], kept["run_id"])
        action = Action(kept["action"])
        return cls(action, author, subject, counts, before, after, kept["reason"])


def rows(ids: Sequence[str]) -> dict[str, Json]:
    """The subject of an act on rows: their ids, or of many the first and a digest.

    The digest is the SHA-256 of all ids, sorted, each followed by a newline.
    """
    ordered = sorted(ids)
    named: dict[str, Json] = {"rows": list[Json](ordered[:ROWS_NAMED])}
    if len(ordered) > ROWS_NAMED:
        text = "".join(f"{each}\n" for each in ordered)
        named["rows_sha256"] = sha256(text.encode()).hexdigest()
    return named
