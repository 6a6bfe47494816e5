"""Text from outside, on its way to a terminal."""

from apex_pipeline.texts.redaction import redact


def printable(text: str) -> str:
    """Text that cannot steer the terminal or turn lines around, without our secrets."""
    return "".join(
        character
        if character.isprintable() or character == "\n"
        else f"\\u{ord(character):04x}"
        for character in redact(text)
    )
