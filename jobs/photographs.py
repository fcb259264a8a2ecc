"""The photographs of a manifest, decoded: to train a prior on, or to measure one with."""

from __future__ import annotations

import math
from concurrent.futures import ThreadPoolExecutor
from functools import partial

import numpy as np
import pyarrow as pa
import typer

from diffpir.operators.channels import LUMA
from manifests import storage
from manifests.errors import StorageError
from manifests.expand import root_of
from manifests.files import Cells, read_cells, read_file
from manifests.read import read_manifest
from pipeline.errors import PipelineError, RowError
from pipeline.fence.decoders import decode_image
from pipeline.pictures.values import Values
from pipeline.tasks.row import AS_STORED

TOGETHER = 64  # whose files are fetched before they are decoded


def photographs_of(
    manifest: str,
    crop: int,
    most: int | None = None,
    channels: int = 3,
    values: Values = AS_STORED,
) -> tuple[list[np.ndarray], list[float]]:
    """The photographs of a manifest and how often each is to be drawn; names those left out.

    Args:
        manifest: its path or URI.
        crop: pixels that each must have a side, at least.
        most: of the rows that are looked at, evenly chosen; None for all.
        channels: of the arrays; 1 is the luma of colours.
        values: which numbers in the files are black and white.

    Returns:
        (H, W, channels) uint8 arrays, and a number of 0 or more for each.

    Raises:
        PipelineError: no photograph is left, or a weight is no number of 0 or more.
        ManifestError, StorageError: the manifest cannot be read.
    """
    table = read_manifest(manifest)
    if most:
        table = table.take(sorted({i * len(table) // most for i in range(most)}))
    base, names = root_of(manifest), table["image"].to_pylist()
    weights = _weights(table, manifest) if "weight" in table.column_names else [1.0] * len(table)

    def load(cells: Cells, name: str) -> np.ndarray | str:
        try:
            data = read_file(name, base, cells) or b""
            image = decode_image(data, channels=channels, numbers=values.range is not None)
            image = values.as_eight_bits(image)
        except (StorageError, RowError) as e:
            return str(e)
        if min(image.shape[:2]) < crop:
            return f"{image.shape[1]} x {image.shape[0]} pixels are smaller than a crop of {crop}"
        if image.ndim == 3 and image.shape[2] != 3:
            return f"it has {image.shape[2]} channels or pages; expected 1 (grey) or 3 (colour)"
        return of_channels(image, channels)

    with ThreadPoolExecutor() as pool:
        loaded: list[np.ndarray | str] = []
        for start in range(0, len(names), TOGETHER):
            some = names[start : start + TOGETHER]
            loaded += pool.map(partial(load, read_cells(some, base)), some)
    photographs: list[np.ndarray] = []
    frequencies: list[float] = []
    for image_id, image, weight in zip(table["id"].to_pylist(), loaded, weights, strict=True):
        if isinstance(image, str):
            typer.echo(f"left out: {image_id}: {image}", err=True)
        else:
            photographs.append(image)
            frequencies.append(weight)
    if not sum(frequencies):
        raise PipelineError(f"{storage.shown(manifest)}: no photograph that will do")
    return photographs, frequencies


def _weights(table: pa.Table, manifest: str) -> list[float]:
    """The column ``weight``, whose numbers may be text, as a CSV's are that begin with a plus."""
    found: list[float] = []
    for row, value in enumerate(table["weight"].to_pylist(), start=1):
        try:
            found.append(float(value))
        except (TypeError, ValueError):
            found.append(math.nan)
        if isinstance(value, bool) or not 0 <= found[-1] < math.inf:
            raise PipelineError(
                f"{storage.shown(manifest)}: row {row}: weight is {value!r}, expected a number of "
                "0 or more"
            )
    if not sum(found):
        raise PipelineError(f"{storage.shown(manifest)}: column 'weight' is 0 in every row")
    return found


def of_channels(image: np.ndarray, channels: int = 3) -> np.ndarray:
    """A picture of 8 bits, grey or of colours, as (H, W, 1 or 3)."""
    if channels == 1 and image.ndim == 3:
        image = np.round(image @ np.array(LUMA)).astype(np.uint8)
    return image if image.ndim == 3 else np.repeat(image[:, :, None], channels, axis=2)
