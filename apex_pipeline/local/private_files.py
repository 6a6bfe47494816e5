"""Files of secrets: whole or not there, and for their owner alone."""

from pathlib import Path


def write_private(path: Path, text: str) -> None:
    """Write a file atomically, accessible only to its owner."""
    draft = path.with_suffix(".draft")
    draft.unlink(missing_ok=True)
    draft.touch(mode=0o600)
    draft.write_text(text)
    draft.replace(path)
