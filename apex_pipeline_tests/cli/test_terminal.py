import io
import sys
from pathlib import Path

import pytest
from hypothesis import given, strategies as st

from apex_pipeline.cli import terminal
from apex_pipeline.cli.terminal import TerminalBytes, say
from apex_pipeline.texts.printable_text import printable

STEERING = "\x1b]0;taken\x07 \x9b31m \u202e\r"


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize("err", [False, True])
def test_a_terminal_is_shown_the_codes_of_what_would_steer_it(monkeypatch, err):
    screen = Terminal()
    monkeypatch.setattr(sys, "stderr" if err else "stdout", screen)
    say(f"{STEERING}\nnext", err=err)
    shown = screen.getvalue()
    assert shown == ("\\u001b]0;taken\\u0007 \\u009b31m \\u202e\\u000d\nnext\n")


def test_a_pipe_gets_the_text_as_it_is(capsys):
    say(STEERING)
    assert capsys.readouterr().out == f"{STEERING}\n"


@given(st.text(), st.integers(1, 7))
def test_bytes_for_a_terminal_are_printable_however_they_are_cut(text, size):
    screen = io.BytesIO()
    sink = TerminalBytes(screen)
    data = text.encode("utf-8", "replace")
    for start in range(0, len(data), size):
        sink.write(data[start : start + size])
    sink.write(b"\r\n")
    shown = screen.getvalue().decode()
    assert all(character.isprintable() or character == "\n" for character in shown)
    assert shown.endswith("\n")
    if text.isprintable():
        assert shown == f"{text}\n"


def test_printable_text_is_not_touched():
    assert printable("Grüße, 東京 ✓\n") == "Grüße, 東京 ✓\n"


def test_commands_write_through_the_one_place_alone():
    own = Path(terminal.__file__)
    others = [path for path in own.parent.glob("*.py") if path != own]
    assert len(others) > 10
    for path in others:
        text = path.read_text()
        assert "click.echo" not in text, path
        assert "click.secho" not in text, path
        assert not any(
            line.strip().startswith("print(") for line in text.splitlines()
        ), path
