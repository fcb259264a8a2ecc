"""The CPU steps of the flow: each maps a table of rows to a table, and knows nothing of Ray."""

from __future__ import annotations

import io
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from PIL import Image

from manifests import storage
from manifests.errors import StorageError
from manifests.schema import TYPES, row_fault
from pipeline.arrays import pack, unpack
from pipeline.decode import decode_image, decode_kernel, decode_mask
from pipeline.errors import RowError
from pipeline.naming import image_path
from pipeline.schema import RESTORED, SHARD

FILES = ("image", "reference", "mask", "kernel")  # the manifest's columns that name files
FETCH_THREADS = 16  # per task: fetching waits for storage, not for the CPU
DECODERS = {
    "image": decode_image,
    "reference": decode_image,
    "mask": decode_mask,
    "kernel": decode_kernel,
}


def known_columns(rows: pa.ChunkedArray) -> list[dict]:
    """The columns that the flow reads, as Python values; the user's own may hold anything."""
    table = pa.Table.from_struct_array(rows)
    return table.select([name for name in table.column_names if name in TYPES]).to_pylist()


class Fetch:
    """``row`` -> + the bytes of its files, and ``error`` where one cannot be had.

    Args:
        base: folder or URI that relative paths of the manifest start from.
        files: the columns to fetch.
    """

    def __init__(self, base: str, files: tuple[str, ...]):
        self.base, self.files = base, files

    def __call__(self, table: pa.Table) -> pa.Table:
        with ThreadPoolExecutor(FETCH_THREADS) as pool:
            fetched = list(pool.map(self._fetch, known_columns(table["row"])))
        for name in FILES:
            column = pa.array([files.get(name) for files, _ in fetched], pa.large_binary())
            table = table.append_column(name, column)
        return table.append_column("error", pa.array([e for _, e in fetched], pa.string()))

    def _fetch(self, row: dict) -> tuple[dict[str, bytes], str]:
        fault = row_fault(row)
        if fault:
            return {}, fault
        files: dict[str, bytes] = {}
        for name in self.files:
            if row.get(name):
                try:
                    files[name] = storage.read_bytes(storage.resolve(self.base, row[name]))
                except StorageError as e:
                    return {}, f"{name}: {e}"
        return files, ""


def decode(table: pa.Table) -> pa.Table:
    """The bytes of files -> arrays (see :mod:`pipeline.decode`), and ``error`` where that fails."""
    errors = table["error"].to_pylist()
    decoded: dict[str, list[np.ndarray | None]] = {name: [] for name in FILES}
    columns = {name: table[name] for name in FILES}
    for i, error in enumerate(errors):
        for name in FILES:
            data = None if error else columns[name][i].as_py()
            array = None
            if data is not None:
                try:
                    array = DECODERS[name](data)
                except RowError as e:
                    error = errors[i] = f"{name}: {e}"
            decoded[name].append(array)
    table = table.drop_columns([*FILES, "error"])
    for name in FILES:
        table = table.append_column(name, pack(decoded[name]))
    return table.append_column("error", pa.array(errors, pa.string()))


class Encode:
    """Restored pixels -> the result's row: ``restored`` holds a PNG file and its name.

    Args:
        images: folder or URI that receives the PNG files too, or None.
    """

    def __init__(self, images: str | None):
        self.images = images

    def __call__(self, table: pa.Table) -> pa.Table:
        pixels = unpack(table["pixels"])
        outcome = pa.Table.from_struct_array(table["outcome"])
        rows = pa.Table.from_struct_array(table["row"])
        cells = []
        for image_id, picture in zip(rows["id"].to_pylist(), pixels, strict=True):
            if picture is None:
                cells.append(None)
                continue
            name, data = image_path(image_id), encode_png(picture)
            if self.images:
                storage.write_bytes(storage.join(self.images, name), data)
            cells.append({"bytes": data, "path": name})
        kept = [name for name in rows.column_names if name not in outcome.column_names]
        result = rows.select(kept)
        for name in outcome.column_names:
            column = outcome[name]
            if name in rows.column_names:  # a failed row keeps what the manifest said
                column = pc.coalesce(column, rows[name])
            result = result.append_column(name, column)
        result = result.append_column("restored", pa.array(cells, RESTORED))
        return result.append_column(SHARD, table[SHARD])


def encode_png(picture: np.ndarray) -> bytes:
    """(H, W) or (H, W, 3) uint8 -> a PNG file."""
    buffer = io.BytesIO()
    Image.fromarray(picture).save(buffer, format="PNG")
    return buffer.getvalue()
