"""``diffpir train``: photographs of a manifest to a prior."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from pathlib import Path

import torch
import typer

from diffpir.training.adapt import with_channels
from diffpir.training.trainer import TrainConfig, check_trainable, small_net, train
from jobs.photographs import photographs_of
from pipeline.errors import PipelineError
from pipeline.pictures.values import Values
from pipeline.priors.files import files_of_prior
from pipeline.spec.model import Model


def train_prior(
    manifest: str,
    output: Path,
    *,
    steps: int,
    batch: int,
    crop: int,
    width: int | None,
    channels: int | None,
    value_range: tuple[float, float] | None,
    initial: Model | None,
    validation: str | None,
    lr: float,
    seed: int,
) -> Path:
    """Train (or resume) a prior; returns the path of the model.

    It has the shape of ``initial``, whose weights a new run begins with, or of the embedded one,
    ``width`` wide. Photographs are taken as grey where ``channels`` is 1; ``value_range`` are the
    numbers in their files that are black and white. ``validation`` is a manifest too, of
    photographs to measure it on.

    Photographs are held in memory, decoded. Those that cannot be read, or are smaller than a
    crop, are named and left out.

    Raises:
        PipelineError: no photograph is left, a weight is no number of 0 or more, or both
            ``width`` and ``initial`` are given.
        ConfigError: the network or a setting cannot be trained with.
        CheckpointError: ``initial`` is no checkpoint.
        StorageError: ``initial`` cannot be read.
    """
    if initial and width:
        raise PipelineError("--width is what --from tells: give one of them")
    begin = files_of_prior(initial).load(torch.float32) if initial else None
    if begin and channels:
        begin = replace(begin, net=with_channels(begin.net, channels))
    shape = begin.net.config if begin else small_net(width or 32, channels=channels or 3)
    config = TrainConfig(steps=steps, batch=batch, crop=crop, lr=lr, seed=seed)
    check_trainable(shape, config)
    load = partial(
        photographs_of, crop=crop, channels=shape.in_channels, values=Values(value_range)
    )
    photographs, frequencies = load(manifest)
    kept = load(validation)[0] if validation else []
    typer.echo(f"{len(photographs)} photographs, {len(kept)} for validation", err=True)
    return train(
        photographs,
        output,
        shape,
        config,
        initial=begin.net if begin else None,
        diffusion=begin.diffusion if begin else None,
        weights=frequencies,
        validation=kept,
        device="cuda" if torch.cuda.is_available() else "cpu",
        progress=_show,
    )


def _show(entry: dict) -> None:
    typer.echo(f"step {entry['step']}  loss {entry['loss']}  {entry['seconds']} s", err=True)
