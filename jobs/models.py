"""``diffpir models``: what a checkpoint is, another precision of it, its error spectrum."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

import numpy as np
import torch
from safetensors import SafetensorError
from torch import Tensor

from diffpir.networks.checkpoint import (
    file_digest,
    load_model,
    read_checkpoint,
    read_spectrum,
    save_checkpoint,
    save_model,
)
from diffpir.networks.denoiser import EpsDenoiser
from diffpir.networks.precision import DTYPES, dtype_of, place
from diffpir.schedule import Schedule
from diffpir.spectrum import CHANNELS, LEAST_SIDE, measure_spectrum
from jobs.photographs import photographs_of
from manifests import storage
from pipeline.errors import PipelineError
from pipeline.pictures.values import Values
from pipeline.resources import device_of
from pipeline.versions import local_file


def describe_model(uri: str, **untold) -> str:
    """What a checkpoint is, a line each; ``untold`` as for ``read_checkpoint``.

    Raises:
        CheckpointError, StorageError: it is none, or cannot be read.
    """
    path = local_file(uri)
    checkpoint = read_checkpoint(path, **untold)
    types = sorted({str(t.dtype).removeprefix("torch.") for t in checkpoint.state.values()})
    facts = {
        "file": path,
        "sha256": file_digest(path),
        "parameters": f"{checkpoint.parameters:,} ({', '.join(types)})",
        "family": "guided-diffusion U-Net",
        "size multiple": f"{checkpoint.config.stride} pixels (other sizes are padded)",
        "learned sigma": checkpoint.config.out_channels == 2 * checkpoint.config.in_channels,
        "error spectrum": "measured" if read_spectrum(path) else "none",
        **asdict(checkpoint.config),
    }
    width = max(map(len, facts))
    return "\n".join(f"{name:<{width}}  {value}" for name, value in facts.items())


def convert_model(uri: str, output: Path, precision: str, **untold) -> str:
    """Write a checkpoint as ``.safetensors`` with weights of that precision; returns what it is.

    Raises:
        PipelineError: ``output`` is no such file's name, or cannot be written.
        CheckpointError, StorageError: the checkpoint is none, or cannot be read.
    """
    if precision not in DTYPES or output.suffix != ".safetensors":
        raise PipelineError(
            f"convert writes .safetensors in {', '.join(DTYPES)}, not {output} in {precision}"
        )
    dtype = DTYPES[precision]
    path = local_file(uri)
    net = load_model(path, dtype, **untold)
    _written(output, lambda: save_model(net, output, dtype, read_spectrum(path)))
    return describe_model(str(output))


def calibrate_model(
    uri: str,
    manifest: str,
    output: Path,
    *,
    evaluations: int,
    side: int,
    value_range: tuple[float, float] | None,
    on_evaluation: Callable[[int, int], None],
    **untold,
) -> str:
    """Measure a checkpoint's error spectrum, and write it with the weights; returns what it is.

    Args:
        uri: of the checkpoint, or ``builtin``.
        manifest: of clean photographs, a few dozen.
        output: file to write, ``.safetensors``; the weights are as they were.
        evaluations: of the network.
        side: of the central squares of the pictures that are looked at, in pixels, at most.
        value_range: the numbers in the photographs' files that are black and white.
        on_evaluation: told how many evaluations are done, of how many.
        untold: as for ``read_checkpoint``.

    Raises:
        PipelineError: ``output`` is no such file's name or cannot be written, the prior is neither
            one of colours nor a grey one, or fewer than two photographs can be read that have
            :data:`LEAST_SIDE` pixels a side.
        CheckpointError, StorageError, ManifestError: the checkpoint or the manifest is none, or
            cannot be read.
    """
    if output.suffix != ".safetensors":
        raise PipelineError(f"calibrate writes a .safetensors file, not {output}")
    path = local_file(uri)
    checkpoint = read_checkpoint(path, **untold)
    channels = checkpoint.config.in_channels
    if channels not in CHANNELS:
        raise PipelineError(
            f"{storage.shown(uri)}: a prior of {channels} channels has no error spectrum, which is "
            "one of colours (3) or of greys (1); jobs with it use sampler: {method: diffpir}"
        )
    device = device_of(torch.cuda.is_available())
    net = place(load_model(path, dtype_of("auto", device), **untold), device, "auto")
    denoise = EpsDenoiser(net, Schedule.linear())
    photographs, _ = photographs_of(
        manifest, LEAST_SIDE, most=evaluations, channels=channels, values=Values(value_range)
    )
    if len(photographs) < 2:
        raise PipelineError(f"{storage.shown(manifest)}: one photograph; a few dozen are wanted")
    squares = [_central(photograph, side).to(device) for photograph in photographs]
    spectrum = measure_spectrum(
        denoise,
        squares,
        schedule=denoise.schedule,
        evaluations=evaluations,
        on_evaluation=on_evaluation,
    )
    _written(output, lambda: save_checkpoint(checkpoint, output, spectrum))
    return describe_model(str(output))


def _central(photograph: np.ndarray, side: int) -> Tensor:
    """(C, h, w) on [0, 1], sides of ``side`` pixels at most."""
    height, width = (min(side, size) for size in photograph.shape[:2])
    top, left = (photograph.shape[0] - height) // 2, (photograph.shape[1] - width) // 2
    square = photograph[top : top + height, left : left + width]
    return torch.from_numpy(square.astype(np.float32).transpose(2, 0, 1) / 255)


def _written(output: Path, write: Callable[[], object]) -> None:
    try:
        write()
    except (OSError, SafetensorError) as e:
        raise PipelineError(f"{output}: cannot be written ({e})") from None
