"""``diffpir train``: photographs of a manifest to a prior."""

from __future__ import annotations

import math
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pyarrow as pa
import torch
import typer

from diffpir.networks.checkpoint import load_model
from diffpir.training.trainer import TrainConfig, check_trainable, small_net, train
from manifests import storage
from manifests.errors import StorageError
from manifests.read import read_manifest
from pipeline.errors import PipelineError, RowError
from pipeline.fence.decoders import decode_image
from pipeline.versions import local_file


def train_prior(
    manifest: str,
    output: Path,
    *,
    steps: int,
    batch: int,
    crop: int,
    channels: int | None,
    initial: str | None,
    validation: str | None,
    lr: float,
    seed: int,
) -> Path:
    """Train (or resume) a prior; returns the path of the model.

    It has the shape of ``initial``, whose weights a new run begins with, or of the embedded one,
    ``channels`` wide. ``validation`` is a manifest too, of photographs to measure it on.

    Photographs are held in memory, decoded. Those that cannot be read, or are smaller than a
    crop, are named and left out.

    Raises:
        PipelineError: no photograph is left, a weight is no number of 0 or more, or both
            ``channels`` and ``initial`` are given.
        ConfigError: the network or a setting cannot be trained with.
        CheckpointError: ``initial`` is no checkpoint.
        StorageError: ``initial`` cannot be read.
    """
    if initial and channels:
        raise PipelineError("--channels is what --from tells: give one of them")
    begin = load_model(local_file(initial)) if initial else None
    shape = begin.config if begin else small_net(channels or 32)
    config = TrainConfig(steps=steps, batch=batch, crop=crop, lr=lr, seed=seed)
    check_trainable(shape, config)
    photographs, frequencies = photographs_of(manifest, crop)
    kept = photographs_of(validation, crop)[0] if validation else []
    typer.echo(f"{len(photographs)} photographs, {len(kept)} for validation", err=True)
    return train(
        photographs,
        output,
        shape,
        config,
        initial=begin,
        weights=frequencies,
        validation=kept,
        device="cuda" if torch.cuda.is_available() else "cpu",
        progress=_show,
    )


def photographs_of(manifest: str, crop: int) -> tuple[list[np.ndarray], list[float]]:
    """The photographs of a manifest and how often each is to be drawn; names those left out."""
    table = read_manifest(manifest)
    base = storage.parent(storage.absolute(manifest))
    weights = _weights(table, manifest) if "weight" in table.column_names else [1.0] * len(table)

    def load(ref: str) -> np.ndarray | str:
        try:
            image = decode_image(storage.read_bytes(storage.resolve(base, ref)))
        except (StorageError, RowError) as e:
            return str(e)
        if min(image.shape[:2]) < crop:
            return f"{image.shape[1]} x {image.shape[0]} pixels are smaller than a crop of {crop}"
        return as_rgb8(image)

    with ThreadPoolExecutor() as pool:
        loaded = list(pool.map(load, table["image"].to_pylist()))
    photographs: list[np.ndarray] = []
    frequencies: list[float] = []
    for image_id, image, weight in zip(table["id"].to_pylist(), loaded, weights, strict=True):
        if isinstance(image, str):
            typer.echo(f"left out: {image_id}: {image}", err=True)
        else:
            photographs.append(image)
            frequencies.append(weight)
    if not sum(frequencies):
        raise PipelineError(f"{storage.shown(manifest)}: no photograph to train on")
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


def as_rgb8(image: np.ndarray) -> np.ndarray:
    """Any decoded picture as (H, W, 3) uint8."""
    if image.dtype == np.uint16:
        image = (image // 257).astype(np.uint8)
    return image if image.ndim == 3 else np.repeat(image[:, :, None], 3, axis=2)


def _show(entry: dict) -> None:
    typer.echo(f"step {entry['step']}  loss {entry['loss']}  {entry['seconds']} s", err=True)
