"""The evidence pack: what an auditor takes away and can check without us."""

import csv
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from hashlib import sha256
from pathlib import Path
from typing import Any, TextIO

from sqlalchemy import Connection

from apex_pipeline import __version__
from apex_pipeline.audit.anchors import KeptAnchor, read_anchors
from apex_pipeline.audit.canonical_json import Json, canonical
from apex_pipeline.audit.chain import COVERED
from apex_pipeline.audit.events import Action
from apex_pipeline.audit.trail import EVENTS, shown
from apex_pipeline.audit.verification import Verification
from apex_pipeline.errors import ApexError

_ROWS_AT_ONCE = 2000

_RANGE = f"""
    {EVENTS}
    WHERE at >= CAST(%(first)s AS timestamp) AT TIME ZONE 'UTC'
        AND at < (CAST(%(last)s AS timestamp) + interval '1 day') AT TIME ZONE 'UTC'
    ORDER BY sequence
"""

# A cell that begins so is a formula to a spreadsheet (OWASP, CSV injection).
_FORMULA = ("=", "+", "-", "@", "\t", "\r")

_CONTROLS = {
    "SOC 2 CC6.1 (logical access)": (
        "Which identity released, dropped, repaired, exported or recorded what.",
        (Action.EXPORT, Action.RECORD, Action.RELEASE, Action.DROP, Action.REPAIR),
    ),
    "SOC 2 CC7.2 (monitoring of system components)": (
        "Every run of the sync with its outcome and counts, and silenced incidents.",
        (Action.SYNC, Action.RESEND, Action.SILENCE, Action.PURGE),
    ),
    "SOC 2 CC8.1 (change management)": (
        "Changes of schema, settings and of what is delivered.",
        (
            *(Action.PROVISION, Action.CHANGE_SETTINGS, Action.ADOPT),
            *(Action.ALLOW_DELIVERY, Action.ACCEPT_DUPLICATES, Action.NAME_CAMPAIGNS),
        ),
    ),
    "ISO/IEC 27001:2022 A.8.15 (logging)": (
        "The log itself is complete and protected: chain, anchors, what was pruned.",
        (Action.ANCHOR, Action.PRUNE),
    ),
}


@dataclass(frozen=True, slots=True)
class Pack:
    """A pack that was written.

    Attributes:
        files: Names within the folder, sorted.
    """

    folder: Path
    events: int
    files: tuple[str, ...]


def write_pack(
    connection: Connection,
    folder: Path,
    first: date,
    last: date,
    verification: Verification,
) -> Pack:
    """Write the events of some days, with all that is needed to check them.

    Args:
        connection: In a transaction.
        folder: A folder that does not exist yet, or is empty.
        first: First day, UTC.
        last: Last day, inclusive.
        verification: The result of verifying the whole trail.

    Raises:
        ApexError: The folder cannot be written, or holds something.
    """
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        if any(folder.iterdir()):
            raise ApexError(f"{folder} is not empty. Name another folder.")
        events, counts = _write_events(connection, folder, first, last)
        anchors = read_anchors(connection)
        _write_anchors(folder, anchors)
        _write_json(folder / "verification.json", _result(verification))
        text = _page(first, last, counts, verification, anchors)
        (folder / "README.md").write_text(text, encoding="utf-8")
        files = _write_sums(folder)
    except OSError as error:
        raise ApexError(
            f"{folder} cannot be written: {error.strerror or error}."
        ) from error
    return Pack(folder, events, files)


def _write_events(
    connection: Connection, folder: Path, first: date, last: date
) -> tuple[int, dict[str, int]]:
    counts: dict[str, int] = {}
    with (
        (folder / "events.jsonl").open("wb") as lines,
        (folder / "events.csv").open("w", newline="", encoding="utf-8") as table,
    ):
        write_row = _header(table)
        for event in _events(connection, first, last):
            try:
                lines.write(canonical(event) + b"\n")
            except ValueError:
                # Somebody changed it; what is stored is evidence too.
                text = json.dumps(event, sort_keys=True, allow_nan=False)
                lines.write(text.encode() + b"\n")
            write_row([_cell(event[name]) for name in (*COVERED, "hash")])
            action = str(event["action"])
            counts[action] = counts.get(action, 0) + 1
    return sum(counts.values()), counts


def _events(
    connection: Connection, first: date, last: date
) -> Iterator[dict[str, Json]]:
    # Of this statement alone; options of the connection would stay.
    options = {"stream_results": True, "max_row_buffer": _ROWS_AT_ONCE}
    values = {"first": first.isoformat(), "last": last.isoformat()}
    for row in connection.exec_driver_sql(_RANGE, values, execution_options=options):
        yield shown(row)


def _header(table: TextIO) -> Any:
    writer = csv.writer(table)
    writer.writerow((*COVERED, "hash"))
    return writer.writerow


def _cell(value: Json) -> str:
    if value is None:
        return ""
    text = (
        json.dumps(value, sort_keys=True, ensure_ascii=False, allow_nan=False)
        if isinstance(value, (dict, list))
        else str(value)
    )
    return f"'{text}" if text.startswith(_FORMULA) else text


def _write_anchors(folder: Path, anchors: Sequence[KeptAnchor]) -> None:
    described = []
    for anchor in anchors:
        stamp, name = anchor.time_stamp, None
        if stamp is not None:
            (folder / "time-stamps").mkdir(exist_ok=True)
            name = f"time-stamps/{anchor.head.sequence}.tsr"
            (folder / name).write_bytes(stamp.answer)
            message = folder / "time-stamps" / f"{anchor.head.sequence}.txt"
            message.write_text(str(anchor.head), encoding="ascii")
        described.append(
            {
                "sequence": anchor.head.sequence,
                "hash": anchor.head.hash,
                "anchored_at": anchor.anchored_at.isoformat(),
                "authority": stamp and stamp.authority,
                "time_stamp": name,
            }
        )
    _write_json(folder / "anchors.json", described)


def _write_json(path: Path, document: object) -> None:
    text = json.dumps(document, indent=2, allow_nan=False)
    path.write_text(f"{text}\n", encoding="utf-8")


def _result(found: Verification) -> dict[str, object]:
    return {
        "unbroken": found.is_unbroken,
        "events": found.events,
        "anchors": found.anchors,
        "problems": list(found.problems),
        "head": None if found.head is None else str(found.head),
        "version": __version__,
    }


def _write_sums(folder: Path) -> tuple[str, ...]:
    """SHA256SUMS, as `sha256sum --check` reads it."""
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    names = [path.relative_to(folder).as_posix() for path in files]
    sums = (sha256(path.read_bytes()).hexdigest() for path in files)
    lines = (f"{digest}  {name}\n" for digest, name in zip(sums, names, strict=True))
    (folder / "SHA256SUMS").write_text("".join(lines), encoding="utf-8")
    return (*names, "SHA256SUMS")


def _page(
    first: date,
    last: date,
    counts: Mapping[str, int],
    found: Verification,
    anchors: Sequence[KeptAnchor],
) -> str:
    result = (
        f"The whole trail was verified: {found.events} events, {found.anchors} anchors, "
        "nothing wrong."
        if found.is_unbroken
        else "**The trail is broken:**\n\n"
        + "\n".join(f"- {problem}" for problem in found.problems)
    )
    stamped = sum(1 for each in anchors if each.time_stamp is not None)
    controls = "\n".join(
        f"| {control} | {text} | {_named(actions, counts)} |"
        for control, (text, actions) in _CONTROLS.items()
    )
    return _PAGE.format(
        first=first,
        last=last,
        version=__version__,
        result=result,
        head=found.head or "none",
        anchors=len(anchors),
        stamped=stamped,
        controls=controls,
    )


def _named(actions: Sequence[Action], counts: Mapping[str, int]) -> str:
    return ", ".join(f"`{action}` {counts.get(action, 0)}" for action in actions)


_PAGE = """# Evidence of the audit trail, {first} to {last}

Written by apex_pipeline {version}. Days are UTC.

{result}

Head of the trail: `{head}`

## Files

| file | what it holds |
| --- | --- |
| `events.jsonl` | the events of these days: canonical JSON (RFC 8785), one to a line |
| `events.csv` | the same for a spreadsheet; text that looks like a formula has a `'` before it |
| `anchors.json` | all anchors of the trail: {anchors}, of which {stamped} have a time stamp |
| `time-stamps/` | the time stamps (RFC 3161), each with the text that it is of |
| `verification.json` | the result of verifying the whole trail |
| `SHA256SUMS` | the hashes of these files |

## Check it yourself

Each event's `hash` is the SHA-256 of its canonical JSON without `hash`; `previous_hash`
is the hash of the event before it.

    sha256sum --check SHA256SUMS
    head -n 1 events.jsonl | jq -jcS 'del(.hash)' | sha256sum
    openssl ts -verify -in time-stamps/N.tsr -data time-stamps/N.txt -CAfile authority.pem

Compare the head and the anchors with those in completion reports and in the messages of
the alert channel.

## Which events speak to which control

This helps to find evidence. It certifies nothing.

| control | what the trail shows | events of these days |
| --- | --- | --- |
{controls}
"""
