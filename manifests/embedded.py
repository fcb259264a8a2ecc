"""Pictures that lie in other files, and what names them in a manifest.

    parquet://COLUMN/GROUP/ROW/BYTES::FILE   row ROW of row group GROUP of a Parquet file
    tar://OFFSET/SIZE/MEMBER::FILE           SIZE bytes from OFFSET on in a tar file

FILE is a path or URI, relative as any other of the manifest. BYTES is the Parquet file's size: one
of another size has changed since. A tar file's member is read together with its header, which must
still have its name. Names of columns and members are percent-encoded.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from urllib.parse import quote, unquote

from manifests.uris import split_embedded

_CELL = re.compile(r"([^/]+)/(\d+)/(\d+)/(\d+)")
_MEMBER = re.compile(r"(\d+)/(\d+)/(.+)", re.S)


@dataclass(frozen=True)
class Cell:
    """A picture in a row of a Parquet file.

    Attributes:
        file: path or URI.
        column: of the picture.
        group: row group, counted from 0.
        row: in the row group, counted from 0.
        bytes: the file's size.
    """

    file: str
    column: str
    group: int
    row: int
    bytes: int

    def __str__(self) -> str:
        name = quote(self.column, safe="")
        return f"parquet://{name}/{self.group}/{self.row}/{self.bytes}::{self.file}"


@dataclass(frozen=True)
class Member:
    """A file in a tar file.

    Attributes:
        file: path or URI of the tar file.
        name: of the member.
        offset, size: of the member's bytes.
    """

    file: str
    name: str
    offset: int
    size: int

    def __str__(self) -> str:
        return f"tar://{self.offset}/{self.size}/{quote(self.name)}::{self.file}"


def parse(ref: str) -> Cell | Member | None:
    """What a reference of these forms names; None for any other path or URI."""
    parts = split_embedded(ref)
    if parts is None:
        return None
    kind, place, file = parts
    if kind == "parquet" and (found := _CELL.fullmatch(place)):
        column, *numbers = found.groups()
        return Cell(file, unquote(column), *map(int, numbers))
    if kind == "tar" and (found := _MEMBER.fullmatch(place)):
        return Member(file, unquote(found[3]), int(found[1]), int(found[2]))
    return None
