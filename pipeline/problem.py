"""From a manifest row to an inverse problem: a measurement, its operator, and what is known."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from diffpir.masks import box_mask, random_mask
from diffpir.metrics import fill_hidden
from diffpir.operators import Denoise, Downsample, Inpaint, Operator
from diffpir.randomness import generator, image_seed
from diffpir.resize import bicubic_downsample
from diffpir.synthesis import add_noise, synthesise
from pipeline.assets import Assets, choose_kernel
from pipeline.errors import RowError
from pipeline.spec import JobSpec


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
        y: (1, 3, h, w), the measurement.
        kernel: (kh, kw) of a blur or reduction, else None.
        mask: (1, 1, H, W), 1 where known, of an inpainting, else None.
        factor: of super-resolution, else 1.
        noise_level: sigma_n.
        seed: of this image's sampling noise.
        reference: (1, 3, H, W), the true image, where it is known.
        grey: the image had one channel; y has three equal ones.
    """

    y: Tensor
    kernel: np.ndarray | None
    mask: Tensor | None
    factor: int
    noise_level: float
    seed: int
    reference: Tensor | None
    grey: bool

    @property
    def shape_key(self) -> tuple:
        """Problems with the same key can be restored in one batch."""
        return (tuple(self.y.shape), None if self.kernel is None else self.kernel.shape)


def files_of(spec: JobSpec) -> list[str]:
    """The columns of a manifest whose files a job reads; it does not touch the others."""
    files = ["image"]
    if spec.mode == "restore":
        files.append("reference")
    if spec.task.kind in ("deblur", "sr"):
        files.append("kernel")
    if spec.task.kind == "inpaint":
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
    task, benchmark = spec.task, spec.mode == "benchmark"
    noise_level = own(row, "noise_level", task.noise_level)
    if noise_level is None:
        raise RowError("no noise_level: neither the row nor the task gives one", "missing_input")
    seed = own(row, "seed", spec.seed)

    def seed_of(purpose: str) -> int:
        return image_seed(seed, row["id"], purpose)

    def rng(purpose: str) -> np.random.Generator:
        return generator(seed_of(purpose))

    factor = task.factor if task.kind == "sr" else 1
    image = to_tensor(inputs.image)
    reference = None if inputs.reference is None else to_tensor(inputs.reference)
    if benchmark:
        height, width = (side // factor * factor for side in image.shape[2:])
        reference = image[..., :height, :width]
        if not reference.numel():
            raise RowError(
                f"{_size(image)} pixels are too few to reduce by {factor}", "size_mismatch"
            )
    else:
        height, width = (side * factor for side in image.shape[2:])
    if reference is not None and reference.shape[2:] != (height, width):
        raise RowError(
            f"the reference is {_size(reference)} pixels, expected {width} x {height}",
            "size_mismatch",
        )
    if height * width > spec.max_pixels:
        raise RowError(
            f"{width} x {height} pixels to restore, more than the job's max_pixels, "
            f"{spec.max_pixels}",
            "too_large",
        )

    kernel = mask = None
    if task.kind in ("deblur", "sr"):
        kernel = (
            inputs.kernel
            if inputs.kernel is not None
            else choose_kernel(task, assets, rng("kernel"))
        )
        if kernel.shape[0] > height or kernel.shape[1] > width:
            raise RowError(
                f"the kernel, {kernel.shape[1]} x {kernel.shape[0]}, is larger than the image, "
                f"{width} x {height}",
                "bad_kernel",
            )
    elif task.kind == "inpaint":
        mask = _mask(inputs, spec, assets, height, width, rng("mask"))

    y = image
    if benchmark:
        operator = _operator([kernel], [mask], factor)
        if task.kind == "sr" and task.kernel is None and inputs.kernel is None:
            # The field's reduction, which does not wrap around at the border as a blur's FFT does.
            reduced = bicubic_downsample(reference, factor)
            y = add_noise(reduced, noise_level, seed_of("noise"), operator)
        else:
            y = synthesise(reference, operator, noise_level, seed_of("noise"))
    return Problem(
        y=y,
        kernel=kernel,
        mask=mask,
        factor=factor,
        noise_level=float(noise_level),
        seed=seed_of("sampler"),
        reference=reference,
        grey=inputs.image.ndim == 2,
    )


def operator_of(problems: Sequence[Problem], device: str | torch.device = "cpu") -> Operator:
    """The operator of a batch of problems that share a ``shape_key``."""
    return _operator(
        [p.kernel for p in problems], [p.mask for p in problems], problems[0].factor, device
    )


def _operator(kernels: list, masks: list, factor: int, device="cpu") -> Operator:
    if kernels[0] is not None:
        stacked = np.stack(kernels).astype(np.float32)
        return Downsample(torch.from_numpy(stacked).to(device), factor)
    if masks[0] is not None:
        return Inpaint(torch.cat(masks).to(device))
    return Denoise()


def baseline_of(problem: Problem, operator: Operator, y: Tensor) -> Tensor:
    """What one would show without a prior: y itself, enlarged, or filled from its neighbours."""
    if problem.mask is not None:
        return fill_hidden(y, operator.mask)
    return operator.initial(y)


def to_tensor(picture: np.ndarray) -> Tensor:
    """(H, W) or (H, W, 3) unsigned integers -> (1, 3, H, W) float32 on [0, 1]."""
    scaled = picture.astype(np.float32) / np.iinfo(picture.dtype).max
    if scaled.ndim == 2:
        scaled = np.repeat(scaled[:, :, None], 3, axis=2)
    return torch.from_numpy(np.ascontiguousarray(scaled.transpose(2, 0, 1)))[None]


def _mask(
    inputs: Inputs,
    spec: JobSpec,
    assets: Assets,
    height: int,
    width: int,
    rng: np.random.Generator,
) -> Tensor:
    choice = spec.task.mask
    mask = inputs.mask if inputs.mask is not None else assets.mask
    if mask is not None:
        if mask.shape != (height, width):
            raise RowError(
                f"the mask is {mask.shape[1]} x {mask.shape[0]} pixels, "
                f"expected {width} x {height}",
                "size_mismatch",
            )
        mask = mask[None]
    elif choice is None:
        raise RowError("no mask: neither the row nor the task gives one", "missing_input")
    elif choice.random is not None:
        mask = random_mask(height, width, choice.random, rng)
    else:
        try:
            mask = box_mask(height, width, choice.box, rng)
        except ValueError as e:
            raise RowError(str(e), "size_mismatch") from None
    return torch.from_numpy(np.ascontiguousarray(mask, np.float32))[None]


def own(row: dict, column: str, otherwise):
    """The row's value where it gives one: a missing column, null and NaN do not."""
    value = row.get(column)
    return otherwise if value is None or value != value else value


def _size(x: Tensor) -> str:
    return f"{x.shape[3]} x {x.shape[2]}"
