"""What every format of an export has."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable
from typing import ClassVar

import pyarrow as pa

from jobs.export.journal import Journal


class Files(ABC):
    """The files of an export, each of which is made of some of the rows.

    Attributes:
        data_files: pattern of them that loaders are told.
    """

    data_files: ClassVar[str]

    @abstractmethod
    def names(self, count: int) -> list[str]:
        """Of so many files, relative to the export's folder."""

    @abstractmethod
    def encode(self, tables: Iterable[pa.Table], journal: Journal) -> bytes:
        """The content of a file; rows come in tables of a modest size."""

    def visible(self, names: list[str]) -> list[str]:
        """What may lie in the export's folder beside its card."""
        return names

    def has(self, journal: Journal, name: str) -> bool:
        """Whether nothing is left to do for a file."""
        return journal.has(name)

    def finish(self, journal: Journal, names: list[str]) -> None:  # noqa: B027
        """Do what is left when all files are written."""
