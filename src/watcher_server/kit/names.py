"""Names as they are compared: two spellings of one name, by case or by how an accent is encoded, are one."""

from typing import Any
from unicodedata import normalize


class SentName(str):
    """A name as it is stored and compared: trimmed, in lower case, in Unicode's form NFC.

    ``spelling`` is how its sender writes it, trimmed and in NFC.
    """

    spelling: str

    @property
    def display(self) -> str | None:
        """The spelling to keep beside the name; None where it is the name itself."""
        return None if self.spelling == self else self.spelling


def fold(sent: str) -> SentName:
    """The name that was sent, as it is compared."""
    spelling = normalize("NFC", sent.strip())
    name = SentName(normalize("NFC", spelling.lower()))
    name.spelling = spelling
    return name


def display_of(name: Any) -> str | None:
    """The spelling to keep beside a name; None where it is the name itself, or none was sent."""
    return name.display if isinstance(name, SentName) else None
