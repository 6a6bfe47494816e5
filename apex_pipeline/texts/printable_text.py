"""Text from outside, on its way to a terminal or into a message."""

from apex_pipeline.texts.redaction import redact
from apex_pipeline.texts.storable_text import REPLACEMENT


def printable(text: str) -> str:
    """Text that cannot steer the terminal or turn lines around, without our secrets."""
    return "".join(
        character
        if character.isprintable() or character == "\n"
        else f"\\u{ord(character):04x}"
        for character in redact(text)
    )


def printable_line(text: object, most: int) -> str:
    """Somebody else's words on one line, at most so many characters, without secrets."""
    line = " ".join(redact(str(text)).split())
    return "".join(
        character if character.isprintable() else REPLACEMENT
        for character in line[:most]
    )
