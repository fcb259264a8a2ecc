"""Numpy arrays of any shape and type as cells of an Arrow column."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pyarrow as pa

ARRAY = pa.struct(
    [("data", pa.large_binary()), ("shape", pa.list_(pa.int32())), ("dtype", pa.string())]
)


def pack(arrays: Sequence[np.ndarray | None]) -> pa.Array:
    """One cell per array; None stays null."""
    cells = [
        None
        if a is None
        else {"data": np.ascontiguousarray(a).tobytes(), "shape": a.shape, "dtype": a.dtype.str}
        for a in arrays
    ]
    return pa.array(cells, ARRAY)


def unpack(column: pa.ChunkedArray) -> list[np.ndarray | None]:
    """The arrays again, read-only."""
    return [
        None
        if cell is None
        else np.frombuffer(cell["data"], np.dtype(cell["dtype"])).reshape(cell["shape"])
        for cell in column.to_pylist()
    ]
