"""``diffpir models``: what a checkpoint is, another precision of it, its error spectrum."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator
from dataclasses import asdict
from pathlib import Path

import numpy as np
import torch
from safetensors import SafetensorError
from torch import Tensor

from diffpir.checkpoints.checkpoint import (
    read_spectrum,
    save_checkpoint,
    save_model,
)
from diffpir.checkpoints.families import UNTOLD
from diffpir.errors import ConfigError
from diffpir.networks.custom_check import check_custom
from diffpir.networks.denoiser import EpsDenoiser
from diffpir.networks.precision import DTYPES, device_of, dtype_of, place
from diffpir.networks.prior_check import check_prior, denoising_error
from diffpir.spectrum import CHANNELS, LEAST_SIDE, measure_spectrum
from jobs.photographs import photographs_of
from manifests import storage
from pipeline.errors import PipelineError
from pipeline.pictures.values import Values
from pipeline.priors.factory import PriorCode
from pipeline.priors.files import PriorFiles, files_of_prior
from pipeline.priors.prior import prior_of
from pipeline.spec.model import Model
from pipeline.users_code import check_allowed, source_digest


def describe_model(model: Model, allow_code: Collection[str] = ()) -> str:
    """What a prior is, a line each: what, its value, and how that is known.

    Args:
        model: as a job has it.
        allow_code: modules and packages that it may import.

    Raises:
        PipelineError: it would import code that is not allowed.
        CheckpointError, ConfigError, StorageError: it is none, or cannot be read.
    """
    if model.factory:
        check_allowed({"factory": model.factory}, allow_code)
        prior = prior_of(model)
        assert isinstance(prior, PriorCode)
        return _table(_of_code(prior, model))
    files = files_of_prior(model)
    path, checkpoint = files.weights, files.read()
    types = sorted({str(t.dtype).removeprefix("torch.") for t in checkpoint.state.values()})
    config = checkpoint.config
    beside = [file for file in (files.files.config, files.files.scheduler) if file]
    lines = [
        ("file", str(path), ""),
        *((f"beside: {file.name}", str(file), "") for file in beside),
        ("sha256", files.digest(), ""),
        ("parameters", f"{checkpoint.parameters:,} ({', '.join(types)})", "found"),
        ("size multiple", f"{config.stride} pixels (other sizes are padded)", "inferred"),
        ("learned sigma", str(config.out_channels == 2 * config.in_channels), "inferred"),
        ("error spectrum", "measured" if read_spectrum(path) else "none", "found"),
        *((fact.name, fact.value, fact.source) for fact in checkpoint.facts),
        ("test picture", _tried(files, model), ""),
    ]
    known = {name for name, *_ in lines} | UNTOLD
    lines += [(k, str(v), "inferred") for k, v in asdict(config).items() if k not in known]
    return _table(lines)


def _of_code(code: PriorCode, model: Model) -> Iterator[tuple[str, str, str]]:
    """What a factory made, after it was tried."""
    prior = code.load()
    net = prior.net
    denoise = prior.denoiser(**model.conditions)
    check_custom(denoise)
    yield "factory", code.factory, "given"
    yield "source sha256", source_digest(code.factory), ""
    if code.used:
        yield "file", str(code.used), "given"
    yield "sha256", code.digest(), ""
    yield "network", net.name, "found"
    yield "parameters", f"{sum(p.numel() for p in net.parameters()):,}", "found"
    yield "channels", str(net.config.in_channels), "found"
    yield "size multiple", f"{net.config.stride} pixels (other sizes are padded)", "found"
    yield "classes", str(net.config.num_classes or "none"), "found"
    yield "schedule", prior.diffusion.schedule.words, "found"
    asked = ", by (x_t, t) with t an int" if net.takes_int else ""
    yield "prediction", prior.diffusion.prediction + asked, "found"
    yield "test picture", _seen(denoise), ""


def _table(lines: Iterable[tuple[str, str, str]]) -> str:
    lines = list(lines)
    width, wide = (max(len(line[i]) for line in lines if line[2]) for i in (0, 1))
    return "\n".join(
        f"{name:<{width}}  {value:<{wide if source else 0}}  {source}".rstrip()
        for name, value, source in lines
    )


def _tried(files: PriorFiles, model: Model) -> str:
    """How well the network denoises, or why that cannot be said."""
    try:
        denoise = files.load(torch.float32).denoiser(**model.conditions)
    except ConfigError as e:
        return f"not tried: {e}"
    return _seen(denoise)


def _seen(denoise: EpsDenoiser) -> str:
    error = denoising_error(denoise)
    doubt = check_prior(denoise)
    as_class = f", as class {denoise.usual_label or 0}" if denoise.classes else ""
    return f"keeps {error:.3f} of a blind denoiser's error{as_class}" + (
        f"; {doubt}" if doubt else ""
    )


def convert_model(model: Model, output: Path, precision: str) -> str:
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
    prior = files_of_prior(model).load(dtype)
    _written(output, lambda: save_model(prior.net, output, dtype, prior.spectrum, prior.diffusion))
    return describe_model(Model(path=str(output)))


def calibrate_model(
    model: Model,
    manifest: str,
    output: Path,
    *,
    evaluations: int,
    side: int,
    value_range: tuple[float, float] | None,
    on_evaluation: Callable[[int, int], None],
) -> str:
    """Measure a checkpoint's error spectrum, and write it with the weights; returns what it is.

    Args:
        model: the prior.
        manifest: of clean photographs, a few dozen.
        output: file to write, ``.safetensors``; the weights are as they were.
        evaluations: of the network.
        side: of the central squares of the pictures that are looked at, in pixels, at most.
        value_range: the numbers in the photographs' files that are black and white.
        on_evaluation: told how many evaluations are done, of how many.

    Raises:
        PipelineError: ``output`` is no such file's name or cannot be written, the prior is neither
            one of colours nor a grey one, or fewer than two photographs can be read that have
            :data:`LEAST_SIDE` pixels a side.
        CheckpointError, StorageError, ManifestError: the checkpoint or the manifest is none, or
            cannot be read.
    """
    if output.suffix != ".safetensors":
        raise PipelineError(f"calibrate writes a .safetensors file, not {output}")
    files = files_of_prior(model)
    checkpoint = files.read()
    channels = checkpoint.config.in_channels
    if channels not in CHANNELS:
        raise PipelineError(
            f"{files.location}: a prior of {channels} channels has no error spectrum, which is one "
            "of colours (3) or of greys (1); jobs with it use sampler: {method: diffpir}"
        )
    device = device_of(torch.cuda.is_available())
    prior = files.load(dtype_of("auto", device))
    place(prior.net, device, "auto")
    denoise = prior.denoiser(**model.conditions)
    if denoise.classes and denoise.usual_label is None:
        raise PipelineError(
            f"{files.location}: a class-conditional prior is measured for one class; give its "
            "label, or for no class its null_label"
        )
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
    return describe_model(Model(path=str(output)))


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
