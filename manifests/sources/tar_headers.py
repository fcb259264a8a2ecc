"""The members of a tar file, from its headers alone: what the members hold is not read.

Each header is a block of 512 bytes, which :mod:`tarfile` decodes. What stands between the headers
(GNU's long names, pax records) is read here: tarfile itself takes any size of them into memory, and
takes the first header that is damaged for the end of the file.
"""

from __future__ import annotations

import tarfile
from collections.abc import Iterator
from dataclasses import dataclass
from typing import BinaryIO

from manifests.errors import ManifestError
from manifests.limits import short

BLOCK = 512
EXTENDED_BYTES = 1 << 16  # of a long name, or of the pax records of a member
LENGTH_DIGITS = 20  # of the length of a pax record, and of a size in one

_NAME_TYPES = (tarfile.GNUTYPE_LONGNAME, tarfile.GNUTYPE_LONGLINK)
_PAX_TYPES = (tarfile.XHDTYPE, tarfile.SOLARIS_XHDTYPE)


@dataclass(frozen=True)
class RegularFile:
    """A regular file in a tar file.

    Attributes:
        name: of the member, with its folders.
        offset, size: of the member's bytes.
    """

    name: str
    offset: int
    size: int


def regular_files(file: BinaryIO, file_bytes: int, source: str) -> Iterator[RegularFile]:
    """The regular files in a tar file (USTAR, GNU or pax), in order.

    Args:
        file: the tar file, open for reading here and there.
        file_bytes: its size.
        source: what messages call it.

    Raises:
        ManifestError: not a tar file, damaged, cut short, or with sparse members.
        StorageError: the file cannot be read.
    """
    place = 0
    for_all: dict[str, str] = {}  # pax records of all members that follow
    for_next: dict[str, str] = {}  # pax records of the next member, or its long name
    begun = False
    while place < file_bytes:
        header = parse_header(_read(file, place, BLOCK, source), source, place)
        if header is None:
            break
        start = place + BLOCK
        extended = (*_NAME_TYPES, *_PAX_TYPES, tarfile.XGLTYPE)
        if header.type in extended:
            if not 0 <= header.size <= EXTENDED_BYTES:
                raise ManifestError(
                    f"{source}: the header at byte {place} says that the next member's name and "
                    f"records take {header.size} bytes; {EXTENDED_BYTES} are allowed"
                )
            data = _read(file, start, header.size, source)
            if header.type == tarfile.XGLTYPE:
                for_all |= _pax_records(data, source, place)
            else:
                begun = True
                found = (
                    _pax_records(data, source, place)
                    if header.type in _PAX_TYPES
                    else _long_name(header.type, data)
                )
                for_next = found | for_next  # of two for one member, tarfile takes the first
            place = start + _padded(header.size)
            continue
        records = for_all | for_next
        for_next, begun = {}, False
        name = records.get("path") or header.name
        size = int(records.get("size") or header.size)
        if header.type == tarfile.GNUTYPE_SPARSE or "GNU.sparse" in records:
            raise ManifestError(
                f"{source}: member {short(name)} is stored sparse, with its zeros left out, and so "
                "cannot be read by itself; write the tar file without --sparse"
            )
        if size < 0:
            raise ManifestError(f"{source}: member {short(name)} has a size of {size} bytes")
        has_data = header.isreg() or header.type not in tarfile.SUPPORTED_TYPES
        place = start + (_padded(size) if has_data else 0)
        if has_data and start + size > file_bytes:
            raise ManifestError(
                f"{source}: the file is cut short, or damaged: its member {short(name)} would end "
                f"at byte {start + size}, and the file has {file_bytes}"
            )
        if header.isreg():
            yield RegularFile(name, start, size)
    if begun:
        raise ManifestError(f"{source}: the file is cut short: its last member is missing")


def parse_header(block: bytes, source: str, place: int) -> tarfile.TarInfo | None:
    """What a header says; None for the block of zeros that ends a tar file.

    Raises:
        ManifestError: not a header.
    """
    try:
        return tarfile.TarInfo.frombuf(block, "utf-8", "surrogateescape")
    except tarfile.HeaderError as e:
        if block == bytes(BLOCK):
            return None
        if place == 0:
            raise ManifestError(f"{source}: not a tar file ({e})") from None
        raise ManifestError(
            f"{source}: the tar file is damaged: the header at byte {place} is none ({e})"
        ) from None


def _read(file: BinaryIO, start: int, size: int, source: str) -> bytes:
    file.seek(start)
    data = file.read(size)
    if len(data) < size:
        raise ManifestError(
            f"{source}: the file is cut short, or no tar file: it ends within the header at byte "
            f"{start}"
        )
    return data


def _padded(size: int) -> int:
    return -(-size // BLOCK) * BLOCK


def _long_name(kind: bytes, data: bytes) -> dict[str, str]:
    if kind == tarfile.GNUTYPE_LONGLINK:
        return {}
    return {"path": data.split(b"\0", 1)[0].decode("utf-8", "surrogateescape")}


def _pax_records(data: bytes, source: str, place: int) -> dict[str, str]:
    """The records that matter here: path, size, and whether there is any of ``GNU.sparse``."""
    found: dict[str, str] = {}
    at = 0
    while at < len(data):
        # LENGTH KEY=VALUE\n, where the length counts all of these bytes.
        space = data.find(b" ", at, at + LENGTH_DIGITS)
        digits = data[at:space] if space > at else b""
        end = at + int(digits) if digits.isdigit() else 0
        key, equals, value = data[space + 1 : end - 1].partition(b"=")
        if not equals or end > len(data) or data[end - 1 : end] != b"\n":
            raise ManifestError(
                f"{source}: the tar file is damaged: the pax records at byte {place} are none"
            )
        if key.startswith(b"GNU.sparse."):
            found["GNU.sparse"] = "yes"
        elif key == b"path":
            found["path"] = value.decode("utf-8", "surrogateescape").rstrip("/")
        elif key == b"size":
            if not value.isdigit() or len(value) > LENGTH_DIGITS:
                raise ManifestError(
                    f"{source}: the pax records at byte {place} have a size that is no number"
                )
            found["size"] = value.decode()
        at = end
    return found
