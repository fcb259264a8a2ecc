"""The files that rows of a manifest name, wherever these lie."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping

from manifests import storage
from manifests.embedded import Cell, parse
from manifests.errors import StorageError
from manifests.read_cell import CellReader, Content
from manifests.read_member import read_member
from manifests.storage import UNRESTRICTED, FetchPolicy
from manifests.storage.words import too_large

Cells = Mapping[Cell, Content | StorageError]

_CELLS = CellReader()  # of this process: it is given a row group's pictures piece by piece

Policy = Callable[[str], FetchPolicy]
"""How a file of this absolute path or URI is fetched; may raise, where it may not be."""


def unrestricted(uri: str) -> FetchPolicy:
    """For whom the manifest is trusted."""
    return UNRESTRICTED


def read_cells(names: Iterable[str], base: str, policy: Policy = unrestricted) -> Cells:
    """The pictures inside Parquet files, among the files that some rows name, read together.

    Args:
        names: as the rows have them.
        base: folder that relative names start from.
        policy: cells of files that it refuses are left out.
    """
    cells: dict[Cell, FetchPolicy] = {}
    for name in names:
        cell = parse(storage.resolve(base, name))
        if isinstance(cell, Cell):
            try:
                cells[cell] = policy(cell.file)
            except Exception:  # its row will say why
                continue
    return _CELLS.read(cells)


def read_file(
    name: str,
    base: str,
    cells: Cells,
    *,
    limit: int | None = None,
    etag: str | None = None,
    policy: Policy = unrestricted,
) -> bytes | None:
    """A file; None for a cell that holds none.

    Args:
        name: as a row has it.
        base: folder that relative names start from.
        cells: of the rows at hand (:func:`read_cells`).
        limit: refuse a file of more bytes.
        etag: that a file in a storage of objects must still have.
        policy: of fetching it.

    Raises:
        StorageError: it cannot be read.
        Exception: what ``policy`` raises.
    """
    uri = storage.resolve(base, name)
    embedded = parse(uri)
    if embedded is None:
        return storage.read_bytes(uri, limit, etag, policy(uri))
    how = policy(embedded.file)
    if not isinstance(embedded, Cell):
        return read_member(embedded, limit, how)
    content = cells[embedded]
    if isinstance(content, StorageError):
        raise content
    if isinstance(content, str):  # it only says where the picture lies
        uri = storage.resolve(base, content)
        return storage.read_bytes(uri, limit, etag, policy(uri))
    if content and limit is not None and len(content) > limit:
        raise too_large(uri, len(content), limit)
    return content
