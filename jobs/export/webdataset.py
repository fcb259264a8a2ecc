"""Tar files as the library ``webdataset`` reads them."""

from __future__ import annotations

import io
import tarfile
from collections.abc import Iterable

import pyarrow as pa

from jobs.export.files import Files
from jobs.export.journal import Journal
from jobs.export.members import each_row
from jobs.export.values import as_json


class TarFiles(Files):
    """The files of an export: of each row ``KEY.png``, ``KEY.json``, ``KEY.measured.png``, ...

    Args:
        pictures: the columns that hold some.
    """

    data_files = "train-*.tar"

    def __init__(self, pictures: list[str]):
        self.pictures = pictures

    def names(self, count: int) -> list[str]:
        return [f"train-{i:06d}.tar" for i in range(count)]

    def encode(self, tables: Iterable[pa.Table], journal: Journal) -> bytes:
        buffer = io.BytesIO()
        with tarfile.open(fileobj=buffer, mode="w", format=tarfile.PAX_FORMAT) as tar:
            for table in tables:
                for key, members, values in each_row(table, self.pictures):
                    for member in members:
                        _add(tar, member.name, member.data)
                    _add(tar, f"{key}.json", as_json(values))
        return buffer.getvalue()


def _add(tar: tarfile.TarFile, name: str, data: bytes) -> None:
    info = tarfile.TarInfo(name)  # no time and no owner: the same rows make the same file
    info.size = len(data)
    tar.addfile(info, io.BytesIO(data))
