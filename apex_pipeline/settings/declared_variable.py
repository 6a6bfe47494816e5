"""What is declared of an environment variable; `variables` lists them all."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Variable:
    """An environment variable.

    Attributes:
        part: The part of the pipeline that it configures.
        meaning: What to set it to, in Markdown.
        default: Default, in Markdown; empty if there is none.
        is_secret: Whether the value is secret, or contains a password.
    """

    name: str
    part: str
    meaning: str
    default: str = ""
    is_secret: bool = False
