"""How much memory a manifest may take, whatever its file says of itself."""

from __future__ import annotations

import os
from dataclasses import dataclass

from manifests.errors import ManifestError

SMALL_BYTES = 1 << 30  # that any manifest may take
GROWTH = 100  # times its file that a manifest may take; strings of ids hardly shrink to a tenth
COLUMN_BYTES = 1 << 16  # that each column counts for at least: libraries hold much for an empty one
SHOWN = 120  # characters of a value in a message


@dataclass(frozen=True)
class Limit:
    """The bytes that a manifest's table may take in memory.

    Attributes:
        source: what messages call the manifest.
        bytes: that are allowed.
    """

    source: str
    bytes: int

    @classmethod
    def of(cls, source: str, file_bytes: int, given: int | None) -> Limit:
        """The limit that the user gave, or the default for a file of that size."""
        usual = min(most_bytes(), max(SMALL_BYTES, GROWTH * file_bytes))
        return cls(source, usual if given is None else given)

    @classmethod
    def streamed(cls, source: str, file_bytes: int, given: int | None) -> Limit:
        """The same of a manifest that is read in batches, whatever memory the machine has."""
        usual = max(SMALL_BYTES, GROWTH * file_bytes)
        return cls(source, usual if given is None else given)

    def check(self, needed: int, what: str = "its rows") -> None:
        """Refuse a manifest that needs more bytes than allowed.

        Raises:
            ManifestError: says what was found, what is allowed, and how to allow more.
        """
        if needed > self.bytes:
            raise ManifestError(
                f"{self.source}: {what} would take {needed} bytes of memory or more, and "
                f"{self.bytes} are allowed; if you trust the file, set max_manifest_bytes to more "
                "in a job file"
            )

    def check_columns(self, count: int) -> None:
        self.check(count * COLUMN_BYTES, f"its {count} columns")


def most_bytes() -> int:
    """A quarter of the machine's memory: what is read is held three times for a while."""
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // 4


def short(value: object) -> str:
    """A value of a manifest for a message, in quotes where it is text; long ones are cut."""
    if isinstance(value, str) and len(value) > SHOWN:
        return f"{value[:SHOWN]!r}... ({len(value)} characters)"
    return cut(repr(value), SHOWN)


def cut(text: str, length: int = 500) -> str:
    """A text for a message that may hold what a file says."""
    return text if len(text) <= length else f"{text[:length]}... ({len(text)} characters)"
