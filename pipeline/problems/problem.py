"""From a manifest row to an inverse problem: a measurement, its operator, and what is known."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from diffpir.config import SamplerConfig
from diffpir.kernels import bicubic_kernel
from diffpir.metrics import fill_hidden
from diffpir.operators import Operator
from diffpir.operators.partial import reach, trimmed
from diffpir.randomness import generator, image_seed
from diffpir.schedule import Schedule
from pipeline.errors import RowError
from pipeline.problems.assets import Assets
from pipeline.problems.kernels import kernel_choice, make_kernel
from pipeline.problems.masks import mask_of
from pipeline.problems.measurement import (
    degraded,
    estimated_kernel,
    estimated_noise,
    make_operator,
    measured,
    size_text,
)
from pipeline.spec import JobSpec
from pipeline.spec.kernels import ESTIMATE_RULE, Kernel
from pipeline.spec.tasks import Task


@dataclass(frozen=True)
class Inputs:
    """A row's decoded files: pictures (H, W) or (H, W, 3), mask (H, W) bool, kernel (kh, kw)."""

    image: np.ndarray
    reference: np.ndarray | None = None
    mask: np.ndarray | None = None
    kernel: np.ndarray | None = None


@dataclass(frozen=True)
class Problem:
    """One image's inverse problem; tensors on [0, 1].

    Attributes:
        task: what was done to the image.
        boundary: of a blur.
        y: (1, 1 or 3, h, w), the measurement.
        kernel: (kh, kw) of a blur or reduction, else None.
        mask: (1, 1, h, w), 1 where y is known; None where all is.
        noise_level: sigma_n.
        kernel_estimate: what the blurred image told of its kernel, where the job asked it.
        seed: of this image's sampling noise.
        reference: (1, 3, H, W), the true image, where it is known.
        grey: y has three equal channels, and so the result.
        channels: of the picture that the result becomes, 1 or 3.
    """

    task: Task
    boundary: str
    y: Tensor
    kernel: np.ndarray | None
    mask: Tensor | None
    noise_level: float
    kernel_estimate: Kernel | None
    seed: int
    reference: Tensor | None
    grey: bool
    channels: int

    @property
    def shape_key(self) -> tuple:
        """Problems with the same key can be restored in one batch."""
        kernel = None if self.kernel is None else self.kernel.shape
        return tuple(self.y.shape), kernel, self.mask is None

    @property
    def pixels(self) -> int:
        """Of the restored image, as far as the measurement's size tells."""
        factor = self.task.factor if self.task.kind == "sr" else 1
        return self.y.shape[2] * self.y.shape[3] * factor**2


def files_of(spec: JobSpec) -> list[str]:
    """The columns of a manifest whose files a job reads; it does not touch the others."""
    files = ["image"]
    if spec.mode == "restore":
        files.append("reference")
    if spec.task.kind in ("deblur", "sr"):
        files.append("kernel")
    if spec.task.kind in ("deblur", "inpaint"):
        files.append("mask")
    return files


def build_problem(row: dict, inputs: Inputs, spec: JobSpec, assets: Assets) -> Problem:
    """Pose the problem of one row.

    Args:
        row: of the manifest; its ``noise_level`` and ``seed`` win over the specification's.
        inputs: the row's files; its kernel and mask win as well.
        spec, assets: of the job.

    Raises:
        RowError: sizes that do not agree, or something needed that nobody gave.
    """
    task = spec.task
    noise_level = own(row, "noise_level", task.noise_level)
    if noise_level is None:
        raise RowError("no noise_level: neither the row nor the task gives one", "missing_input")
    seed = own(row, "seed", spec.seed)

    def seed_of(purpose: str) -> int:
        return image_seed(seed, row["id"], purpose)

    def rng(purpose: str) -> np.random.Generator:
        return generator(seed_of(purpose))

    image = to_tensor(inputs.image)
    flat = inputs.image.ndim == 2
    # Many a grey picture is stored with three equal channels; but what a user's operator measured
    # of colours may have them too.
    grey = flat or (task.kind != "linear" and bool((image == image[:, :1]).all()))
    kernel, estimate, bicubic = inputs.kernel, None, False
    if task.kind in ("deblur", "sr"):
        if kernel is None:
            choice = kernel_choice(task, row)
            if choice and choice.estimate:
                if inputs.mask is not None or not spec.may_estimate_kernel:
                    raise RowError(f"kernel: {ESTIMATE_RULE}", "bad_kernel")
                if noise_level == "auto":
                    noise_level = estimated_noise(image, None, task)
                choice = estimate = estimated_kernel(image, choice.estimate, noise_level)
            bicubic = choice is None
            kernel = (
                bicubic_kernel(task.factor)
                if bicubic
                else make_kernel(choice, assets, rng("kernel"))
            )
        kernel = trimmed(kernel)
    size = _measured_size(image, kernel, spec)
    mask = None
    if task.kind == "inpaint" or (
        task.kind == "deblur" and (task.mask is not None or inputs.mask is not None)
    ):
        mask = mask_of(inputs.mask, spec, assets, *size, rng("mask"))
    operator = make_operator(task, spec.boundary, size, [kernel], [mask])
    if spec.mode == "benchmark":
        grey = grey and task.kind not in ("colorize", "demosaic")
        y, reference = degraded(
            image,
            size,
            operator,
            spec,
            noise_level,
            seed_of("noise"),
            bicubic=bicubic,
            grey=grey,
        )
    else:
        y, grey = measured(image, grey, mask, operator, task)
        reference = _checked_reference(inputs, operator.frame(operator.initial(y)).shape[2:])
        if noise_level == "auto":
            noise_level = estimated_noise(y, mask, task)
    return Problem(
        task=task,
        boundary=spec.boundary,
        y=y,
        kernel=kernel,
        mask=mask,
        noise_level=float(noise_level),
        kernel_estimate=estimate,
        seed=seed_of("sampler"),
        reference=reference,
        grey=grey,
        channels=1 if grey and flat else 3,
    )


def _measured_size(image: Tensor, kernel: np.ndarray | None, spec: JobSpec) -> tuple[int, int]:
    """(h, w) of the measurement: the picture itself, or in a benchmark what can be made of it.

    Raises:
        RowError: too few or too many pixels, or a kernel larger than the image.
    """
    height, width = image.shape[2:]
    factor = spec.task.factor if spec.task.kind == "sr" else 1
    if spec.mode == "benchmark":
        beyond = [0, 0]
        if kernel is not None and spec.boundary == "unknown":
            beyond = [sum(reach(side, factor)) for side in kernel.shape]
        height, width = ((s - b) // factor for s, b in zip((height, width), beyond, strict=True))
        if min(height, width) < 1:
            raise RowError(
                f"{size_text(image)} pixels are too few to be blurred or reduced so far",
                "size_mismatch",
            )
    whole = height * factor, width * factor
    if whole[0] * whole[1] > spec.max_pixels:
        raise RowError(
            f"{whole[1]} x {whole[0]} pixels to restore, more than the job's max_pixels, "
            f"{spec.max_pixels}",
            "too_large",
        )
    if kernel is not None and (kernel.shape[0] > whole[0] or kernel.shape[1] > whole[1]):
        raise RowError(
            f"the kernel, {kernel.shape[1]} x {kernel.shape[0]}, is larger than the image, "
            f"{whole[1]} x {whole[0]}",
            "bad_kernel",
        )
    return height, width


def _checked_reference(inputs: Inputs, size: Sequence[int]) -> Tensor | None:
    if inputs.reference is None:
        return None
    reference = to_tensor(inputs.reference)
    if reference.shape[2:] != tuple(size):
        raise RowError(
            f"the reference is {size_text(reference)} pixels, expected {size[1]} x {size[0]}",
            "size_mismatch",
        )
    return reference


def operator_of(problems: Sequence[Problem], device: str | torch.device = "cpu") -> Operator:
    """The operator of a batch of problems that share a ``shape_key``."""
    first = problems[0]
    return make_operator(
        first.task,
        first.boundary,
        tuple(first.y.shape[2:]),
        [p.kernel for p in problems],
        [p.mask for p in problems],
        device,
    )


def guess_of(problems: Sequence[Problem], operator: Operator, y: Tensor) -> Tensor:
    """(B, 3, H, W), the scenes as far as y alone tells: enlarged, or filled from neighbours.

    ``y`` is that of the problems, which share a ``shape_key``, where the operator works.
    """
    first = problems[0]
    if first.mask is None:
        return operator.initial(y)
    filled = fill_hidden(y, torch.cat([p.mask for p in problems]).to(y))
    return filled if first.task.kind == "inpaint" else operator.initial(filled)


def start_of(
    problems: Sequence[Problem],
    operator: Operator,
    y: Tensor,
    schedule: Schedule,
    config: SamplerConfig,
    noise: Iterator[Tensor],
) -> Tensor | None:
    """The sampler's ``x_start``: None, its own, unless it starts below T - 1.

    There the noise does not drown the start image, which had better have no black holes.
    """
    if config.first_timestep is None:
        return None
    guess = guess_of(problems, operator, y)
    return schedule.diffuse(2 * guess - 1, config.first_timestep, next(noise))


def baseline_of(problem: Problem) -> Tensor:
    """(1, 3, H, W), what one would show without a prior."""
    operator = operator_of([problem])
    return operator.frame(guess_of([problem], operator, problem.y))


def to_tensor(picture: np.ndarray) -> Tensor:
    """(H, W) or (H, W, 3) unsigned integers -> (1, 3, H, W) float32 on [0, 1]."""
    scaled = picture.astype(np.float32) / np.iinfo(picture.dtype).max
    if scaled.ndim == 2:
        scaled = np.repeat(scaled[:, :, None], 3, axis=2)
    return torch.from_numpy(np.ascontiguousarray(scaled.transpose(2, 0, 1)))[None]


def own(row: dict, column: str, otherwise):
    """The row's value where it gives one: a missing column, null and NaN do not."""
    value = row.get(column)
    return otherwise if value is None or value != value else value
