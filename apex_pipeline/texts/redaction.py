"""Hide configured secrets in all that this process prints, stores or sends.

By value, in every spelling that a URL, a header, JSON, HTML or Python gives it. So it
also works for the text of an authority that repeats our request, of a library, and of a
traceback. `settings` names each secret that it reads; errors, logs, commands, the ledger,
notices and Dagster's record of exceptions pass through here.
"""

import base64
import html
import json
import logging
import re
import sys
import threading
import traceback
from collections.abc import Iterable, Iterator, Mapping
from types import TracebackType
from urllib.parse import quote, quote_plus

from apex_pipeline.texts.storable_text import storable

HIDDEN = "***"

# A shorter value, or a word, occurs in any text by chance. Hiding it would garble all.
_SHORTEST = 8
_SHORTEST_WORD = 12

_ESCAPED_BYTE = re.compile("%[0-9A-F]{2}")


class Redactor:
    """Hides a set of values."""

    def __init__(self, values: Iterable[str] = ()) -> None:
        """Hide these; `remember` adds more."""
        self._lock = threading.Lock()
        self._values: frozenset[str] = frozenset()
        self._compiled = self._values, _pattern_of(self._values)
        self.remember(*values)

    def __len__(self) -> int:
        """How many values are hidden."""
        return len(self._values)

    def remember(self, *values: str) -> None:
        """Hide these values too from now on; short ones and words are ignored."""
        new = {value for value in values if not _is_common(value)}
        if new <= self._values:
            return
        with self._lock:
            self._values |= new

    def forget(self) -> None:
        """Hide nothing any more."""
        with self._lock:
            self._values = frozenset()

    def hide(self, text: str) -> str:
        """The text with every value replaced."""
        pattern = self._pattern()
        return text if pattern is None else pattern.sub(HIDDEN, text)

    def are_in(self, data: bytes) -> bool:
        """Whether the data contain a value, as text in UTF-8."""
        text = data.decode("utf-8", "replace")
        pattern = self._pattern()
        return pattern is not None and pattern.search(text) is not None

    def _pattern(self) -> re.Pattern[str] | None:
        """Compiled when it is used first, since many values come one after the other.

        Without the lock, which a signal handler that logs would wait for in vain.
        """
        values = self._values
        known, pattern = self._compiled
        if known is not values:
            pattern = _pattern_of(values)
            self._compiled = values, pattern
        return pattern


def _pattern_of(values: frozenset[str]) -> re.Pattern[str] | None:
    spelled = {each for value in values for each in _spellings(value)}
    # Longest first, so hiding one leaves no remainder of another.
    ordered = sorted(spelled, key=lambda each: (-len(each), each))
    return re.compile("|".join(map(re.escape, ordered))) if ordered else None


OURS = Redactor()
"""The secrets of this process."""


def shortened(text: str, most: int) -> str:
    """The beginning of a text. A secret that was cut first would no longer be found."""
    return redact(text)[:most]


def redact(text: str) -> str:
    """The text without the secrets that this process has read."""
    return OURS.hide(text)


def redacted(values: Mapping[str, object]) -> dict[str, object]:
    """Values for a statement: the texts among them without secrets, and storable."""
    return {
        name: storable(redact(value)) if isinstance(value, str) else value
        for name, value in values.items()
    }


def install() -> None:
    """Redact logs and the tracebacks that Python prints, in this process from now on."""
    logging.setLogRecordFactory(_record)
    sys.excepthook = _print_exception
    threading.excepthook = _print_thread_exception


def _is_common(value: str) -> bool:
    is_word = value.isalpha() and value.islower()
    return len(value) < (_SHORTEST_WORD if is_word else _SHORTEST)


def _spellings(value: str) -> Iterator[str]:
    """What a value looks like after other programs have written it."""
    quoted = {quote(value, safe=""), quote(value), quote_plus(value)}
    lower = {_ESCAPED_BYTE.sub(lambda m: m[0].lower(), each) for each in quoted}
    for plain in {value, *quoted, *lower}:
        yield from _escaped(plain)
        yield from _within_base64(plain.encode("utf-8", "surrogatepass"))


def _escaped(value: str) -> Iterator[str]:
    yield value
    yield repr(value)[1:-1]
    yield html.escape(value)
    for ascii_only in (True, False):
        once = json.dumps(value, ensure_ascii=ascii_only, allow_nan=False)[1:-1]
        yield once
        # JSON within JSON, as in Dagster's storage.
        yield json.dumps(once, ensure_ascii=ascii_only, allow_nan=False)[1:-1]


def _within_base64(value: bytes) -> Iterator[str]:
    """The characters that the value alone decides, wherever it begins in a longer text.

    Such as `user:password` of HTTP Basic.
    """
    for before in range(3):
        standard = base64.b64encode(bytes(before) + value).decode()
        core = standard[-(-before * 8 // 6) : (before + len(value)) * 8 // 6]
        yield core
        yield core.replace("+", "-").replace("/", "_")


class _Record(logging.LogRecord):
    """A line of a log without secrets."""

    def getMessage(self) -> str:  # noqa: N802  logging's
        return redact(super().getMessage())


def _record(*given: object, **more: object) -> logging.LogRecord:
    record = _Record(*given, **more)  # type: ignore[arg-type]  # logging's own arguments
    if isinstance(record.exc_info, tuple) and record.exc_info[0] is not None:
        # A formatter takes this instead of formatting the exception itself.
        lines = traceback.format_exception(*record.exc_info)
        record.exc_text = redact("".join(lines).rstrip("\n"))
    return record


def _print_exception(
    kind: type[BaseException],
    error: BaseException,
    trace: TracebackType | None,
) -> None:
    if sys.stderr is not None:
        lines = traceback.format_exception(kind, error, trace)
        sys.stderr.write(redact("".join(lines)))


def _print_thread_exception(given: threading.ExceptHookArgs) -> None:
    if given.exc_value is not None:
        _print_exception(given.exc_type, given.exc_value, given.exc_traceback)
