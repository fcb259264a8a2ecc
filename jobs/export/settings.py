"""What a user may ask of an export."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from enum import StrEnum


class Format(StrEnum):
    parquet = "parquet"
    webdataset = "webdataset"
    folder = "folder"


@dataclass(frozen=True)
class Settings:
    """How a dataset is written.

    Attributes:
        format: of the files.
        file_mb: megabytes that a file has, about.
        with_measured: add the measured pictures, read again from the manifest's files.
        only_ok: leave out the rows that failed.
        columns: of the results that are kept beside ``id`` and ``restored``; None for all.
    """

    format: Format = Format.parquet
    file_mb: float = 500
    with_measured: bool = False
    only_ok: bool = False
    columns: tuple[str, ...] | None = None

    @property
    def drops_failed(self) -> bool:
        """Whether failed rows are left out: only Parquet has a place for rows without pictures."""
        return self.only_ok or self.format != Format.parquet

    def plain(self) -> dict:
        """As JSON holds them."""
        columns = None if self.columns is None else sorted(set(self.columns))
        return asdict(self) | {"columns": columns}
