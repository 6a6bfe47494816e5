"""The one place where commands write: a terminal gets nothing that steers it.

Texts of rows, of Dataverse and of proxies may hold control characters. A pipe gets them
as they are; a terminal would obey them.
"""

import io
import logging
import os
import sys
from codecs import getincrementaldecoder
from typing import BinaryIO

import click

from apex_pipeline.texts.printable_text import printable
from apex_pipeline.texts.redaction import redact

logger = logging.getLogger(__name__)


def say(text: str = "", *, err: bool = False) -> None:
    """Write a line to standard output, or to standard error."""
    stream = sys.stderr if err else sys.stdout
    is_terminal = stream is not None and stream.isatty()
    click.echo(printable(text) if is_terminal else redact(text), err=err)


def announce(text: str, *, level: int = logging.INFO) -> None:
    """Say what goes on in a process that serves: in its log, if that is for a collector.

    Raises:
        ConfigError: APEX_LOG_FORMAT is malformed.
    """
    # The emulator's command loads this module, but none of the settings.
    from apex_pipeline import log_lines  # noqa: PLC0415  it reads them

    if log_lines.is_json(os.environ):
        logger.setLevel(logging.INFO)
        logger.log(level, text)
    else:
        say(text, err=level > logging.INFO)


class TerminalBytes:
    """UTF-8 on its way to a terminal."""

    def __init__(self, terminal: BinaryIO) -> None:
        # A character may come in two pieces, and a line ends in two characters.
        decoder = getincrementaldecoder("utf-8")("replace")
        self._decoder = io.IncrementalNewlineDecoder(decoder, translate=True)
        self._terminal = terminal

    def write(self, data: bytes) -> int:
        """Write what is printable, and the codes of what is not."""
        self._terminal.write(printable(self._decoder.decode(data)).encode())
        return len(data)
