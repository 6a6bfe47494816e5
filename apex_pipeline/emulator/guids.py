"""GUIDs: primary keys and lookups, sorted as SQL Server sorts them."""

import re
from dataclasses import dataclass
from typing import ClassVar

from apex_pipeline.emulator.codecs import Stored, expect, unconvertible
from apex_pipeline.emulator.syntax_tree import Literal

_GUID = re.compile(
    r"\{?([0-9a-fA-F]{8}(?:-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12})\}?"
).fullmatch


@dataclass(frozen=True, slots=True)
class Guid:
    """A primary key or the target of a lookup.

    Stored with its bytes in the order in which SQL Server compares them: the last six
    first, then the groups before them, each as little-endian as it is kept there.
    """

    edm: ClassVar[str] = "Edm.Guid"
    affinity: ClassVar[str] = "TEXT"

    def read(self, value: object) -> Stored:
        """Refuse what is not a GUID."""
        if value is None:
            return None
        match = _GUID(value) if type(value) is str else None
        return store_guid(match[1]) if match else unconvertible(value, self.edm)

    def literal(self, literal: Literal) -> Stored:
        """A GUID, bare or quoted; the service takes both (undocumented)."""
        text = expect(literal, "Edm.Guid", "Edm.String").text
        match = _GUID(text)
        if match is None:
            raise TypeError("Edm.String")
        return store_guid(match[1])

    def show(self, stored: Stored) -> str:
        """The usual form, in lower case."""
        return f'"{load_guid(str(stored))}"'


def store_guid(text: str) -> str:
    """Reorder a GUID's digits so that their text sorts as SQL Server sorts it."""
    t = text.lower()
    first = t[6:8] + t[4:6] + t[2:4] + t[:2]
    return t[24:] + t[19:23] + t[16:18] + t[14:16] + t[11:13] + t[9:11] + first


def load_guid(stored: str) -> str:
    """The GUID that `store_guid` reordered."""
    s = stored
    first = s[30:32] + s[28:30] + s[26:28] + s[24:26]
    return f"{first}-{s[22:24]}{s[20:22]}-{s[18:20]}{s[16:18]}-{s[12:16]}-{s[:12]}"


def is_guid(text: str) -> bool:
    """Whether the text is a GUID as the Web API writes it."""
    return _GUID(text) is not None
