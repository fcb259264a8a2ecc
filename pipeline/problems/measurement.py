"""Measurements: the operator that makes them, and what it made."""

from __future__ import annotations

import importlib
from collections.abc import Sequence

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from diffpir.blind import estimate_blur
from diffpir.errors import EstimationError
from diffpir.noise import estimate_noise
from diffpir.operators import (
    Denoise,
    Downsample,
    Inpaint,
    Linear,
    Operator,
    PartialBlur,
    bayer,
    luminance,
)
from diffpir.operators.linear import check_adjoint
from diffpir.resize import bicubic_downsample
from diffpir.synthesis import add_noise, synthesise
from pipeline.errors import PipelineError, RowError
from pipeline.spec import JobSpec
from pipeline.spec.kernels import Kernel
from pipeline.spec.tasks import LinearTask, Task

Kernels = Sequence[np.ndarray | None]
Masks = Sequence[Tensor | None]


def make_operator(
    task: Task,
    boundary: str,
    size: tuple[int, int],
    kernels: Kernels = (None,),
    masks: Masks = (None,),
    device: str | torch.device = "cpu",
) -> Operator:
    """The operator of images that share all shapes.

    Args:
        task: what was done to them.
        boundary: of a blur.
        size: (h, w) of the measurements.
        kernels: (kh, kw) of each image, or None.
        masks: (1, 1, h, w) of each image, or None.
        device: where it is to work.

    Raises:
        PipelineError: a user's own operator cannot be had.
    """
    mask = None if masks[0] is None else torch.cat(list(masks)).to(device)
    if task.kind in ("deblur", "sr"):
        factor = task.factor if task.kind == "sr" else 1
        kernel = torch.from_numpy(np.stack(kernels).astype(np.float32)).to(device)
        if boundary == "circular" and mask is None:
            return Downsample(kernel, factor)
        return PartialBlur(kernel, size, factor, boundary, mask)
    if task.kind == "inpaint":
        return Inpaint(mask)
    if task.kind == "colorize":
        return luminance(device=device)
    if task.kind == "demosaic":
        return bayer(*size, task.pattern, device=device)
    if task.kind == "linear":
        return users_operator(task)
    return Denoise()


def users_operator(task: LinearTask) -> Operator:
    """What the factory that the task names returns; :class:`Linear` supplies what it lacks.

    Raises:
        PipelineError: it cannot be imported, or returns no linear operator.
    """
    module, _, name = task.operator.partition(":")
    try:
        made = getattr(importlib.import_module(module), name)(**task.options)
    except Exception as e:
        raise PipelineError(
            f"task.operator: {task.operator} with options {task.options}: {type(e).__name__}: {e}"
        ) from None
    if not all(callable(getattr(made, part, None)) for part in ("forward", "adjoint")):
        raise PipelineError(
            f"task.operator: {task.operator} returned {type(made).__name__}, "
            "expected an object with the methods forward and adjoint"
        )
    if all(hasattr(made, part) for part in ("prox", "initial", "impose", "frame")):
        return made
    return Linear(made.forward, made.adjoint, getattr(made, "initial", None))


def degraded(
    clean: Tensor,
    size: tuple[int, int],
    operator: Operator,
    spec: JobSpec,
    noise_level: float,
    seed: int,
    *,
    bicubic: bool,
    grey: bool,
) -> tuple[Tensor, Tensor]:
    """A benchmark's measurement of a clean image, and the part of the image that it shows."""
    if spec.task.kind == "linear":
        scene = clean
    else:
        height, width = operator.initial(torch.zeros(1, 1, *size)).shape[2:]
        scene = clean[..., :height, :width]
        # A scene may extend further than the blur looks: what is there does not matter.
        missing = width - scene.shape[3], height - scene.shape[2]
        scene = F.pad(scene, (0, missing[0], 0, missing[1]), "replicate")
    try:
        if bicubic and spec.boundary == "circular":
            # The field's reduction, which does not wrap around at the border as a blur's FFT does.
            y = bicubic_downsample(scene, spec.task.factor)
            y = add_noise(y, noise_level, seed, operator, grey=grey)
        else:
            y = synthesise(scene, operator, noise_level, seed, grey=grey)
    except (RuntimeError, ValueError) as e:
        text = f"the operator cannot be applied to {size_text(clean)} pixels: {e}"
        raise RowError(text, "failed") from None
    if spec.task.kind == "linear":
        _check_users_operator(operator, y)
    return y, operator.frame(scene)


def measured(
    image: Tensor, grey: bool, mask: Tensor | None, operator: Operator, task: Task
) -> tuple[Tensor, bool]:
    """The measurement that a picture is, and whether the result is to be grey."""
    if task.kind == "colorize":
        return operator.forward(image), False
    if task.kind == "demosaic":
        if not grey:
            raise RowError(
                "the image has colours; expected a sensor's values, one channel", "size_mismatch"
            )
        return image[:, :1], False
    if task.kind == "linear":
        return _of_users_operator(image, grey, operator)
    return (image if mask is None else image * mask), grey


def _of_users_operator(image: Tensor, grey: bool, operator: Operator) -> tuple[Tensor, bool]:
    try:
        # A grey picture is what an operator measured that mixes channels, or a grey scene's.
        mixes = grey and operator.adjoint(image[:, :1]).shape[1] == 3
    except Exception as e:
        raise RowError(f"task.operator: {type(e).__name__}: {e}", "failed") from None
    y = image[:, :1] if mixes else image
    _check_users_operator(operator, y)
    return y, grey and not mixes


def _check_users_operator(operator: Operator, y: Tensor) -> None:
    """Its adjoint is one, and its scenes are those of the prior."""
    try:
        check_adjoint(operator.forward, operator.adjoint, y)
        channels = operator.initial(y).shape[1]
    except Exception as e:
        raise RowError(f"task.operator: {type(e).__name__}: {e}", "failed") from None
    if channels != 3:
        raise RowError(
            f"task.operator: its scenes have {channels} channels, the prior's 3", "failed"
        )


def estimated_noise(y: Tensor, mask: Tensor | None, task: Task) -> float:
    """The noise level that a measurement shows.

    Raises:
        RowError: too little of it is known and exposed well.
    """
    if task.kind == "demosaic":  # the filter's four pixels are as four colours
        height, width = (side // 2 * 2 for side in y.shape[2:])
        y = F.pixel_unshuffle(y[..., :height, :width], 2)
    try:
        return estimate_noise(y, mask)
    except EstimationError as e:
        raise RowError(f"noise_level: auto: {e}", "missing_input") from None


def estimated_kernel(y: Tensor, family: str, noise_level: float) -> Kernel:
    """The blur that a photograph shows: of its family, with the one parameter that fits best.

    Raises:
        RowError: ``bad_kernel``: the image is too small.
    """
    try:
        width = estimate_blur(y, family, noise_level)
    except EstimationError as e:
        raise RowError(f"kernel: estimate: {e}", "bad_kernel") from None
    parameter = "std" if family == "gaussian" else "radius"
    return Kernel.model_validate({family: {parameter: width}})


def size_text(x: Tensor) -> str:
    return f"{x.shape[3]} x {x.shape[2]}"
