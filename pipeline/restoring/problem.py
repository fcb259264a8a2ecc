"""From a manifest row to an inverse problem: a measurement, its operator, and what is known."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor

from diffpir.config import SamplerConfig
from diffpir.noise_model import NoiseModel
from diffpir.operators import Compressed, Operator, luminance, measured
from diffpir.rivals import RIVALS
from pipeline.errors import RowError
from pipeline.spec.job import JobSpec
from pipeline.tasks.assets import Assets
from pipeline.tasks.compression import stored_intervals
from pipeline.tasks.noise import shape_of, told
from pipeline.tasks.parts import Arrays, BatchParts, Mode
from pipeline.tasks.row import Inputs, Row, size_text
from pipeline.tasks.task import Task


@dataclass(frozen=True)
class Problem:
    """One image's inverse problem; tensors on [0, 1], where 1 stands for ``peak``.

    Attributes:
        task: what was done to the image.
        mode: of the job.
        y: (1, c, h, w), the measurement.
        arrays: what its operator is made of (:class:`pipeline.tasks.parts.Parts`).
        noise: of y, a level or a model.
        noise_level: its standard deviation, root mean square of what was measured.
        outcome: columns of the result that the measurement told.
        key, scale: as of :class:`pipeline.tasks.parts.Parts`.
        last_level: the noise level that its sampling ends at, where that is the measurement's own.
        seed: of this image's sampling noise.
        reference: (1, C, H, W), the true image, where it is known; 1 is white.
        grey: y has one channel or equal ones, and so the result.
        channels: of the picture that a grey result becomes; None for those of the scene.
        colours: (1, 3, h, w), what was measured, where y is its luma and the chroma stays; else
            None.
        watched: what the sampler sees on the way is kept.
        label: its class, for a class-conditional prior; else None.
    """

    task: Task
    mode: Mode
    y: Tensor
    arrays: Arrays
    noise: float | NoiseModel
    noise_level: float
    seed: int
    reference: Tensor | None
    grey: bool
    channels: int | None
    colours: Tensor | None = None
    watched: bool = False
    outcome: Mapping[str, Any] = field(default_factory=dict)
    key: Hashable = None
    scale: float = 1.0
    last_level: float | None = None
    label: int | None = None

    @property
    def noise_levels_key(self) -> tuple:
        """Images share network calls only where this is equal: the noise levels that they pass."""
        return self.scale, self.last_level

    @property
    def shape_key(self) -> tuple:
        """Problems with the same key can be restored in one batch."""
        return (
            self.noise_levels_key,
            self.key,
            tuple(self.y.shape),
            shape_of(self.noise),
            *((name, a.shape) for name, a in sorted(self.arrays.items())),
        )

    @property
    def peak(self) -> float:
        """What 1 in the scene and in y stands for, where 1 is white in files."""
        return self.task.peak(self.mode)

    @property
    def pixels(self) -> int:
        """Of the restored image, as far as the measurement's size tells."""
        return self.y.shape[2] * self.y.shape[3] * self.task.enlargement**2


def files_of(spec: JobSpec) -> list[str]:
    """The columns of a manifest whose files a job reads; it does not touch the others."""
    reference = ["reference"] if spec.mode == "restore" else []
    noise = ["noise_map"] if spec.task.is_linear else []
    return ["image", *reference, *noise, *spec.task.columns]


def build_problem(
    values: dict, files: Inputs, spec: JobSpec, assets: Assets, channels: int = 3
) -> Problem:
    """Pose the problem of one row; the arguments are those of :class:`Row`.

    Raises:
        RowError: sizes or channels that do not agree, or something needed that nobody gave.
    """
    row, task = Row(values, files, spec, assets, channels), spec.task
    parts = task.parts(row)
    size = task.measured_size(row, parts.arrays)
    _check_pixels(size, spec)
    operator = task.operator_for(BatchParts([parts.arrays], size, spec.mode))
    reference: Tensor | None
    if spec.mode == "benchmark":
        grey = row.grey and not task.gives_colour
        y, reference = _degraded(row, size, operator, grey)
    else:
        y, grey = task.measured(row, parts.arrays, operator)
        reference = _checked_reference(row, operator.frame(operator.initial(y)).shape[1:])
    known = parts.outcome.get("noise_level")
    noise = known if known is not None else task.noise_in(row, y, operator, parts.arrays)
    if isinstance(noise, NoiseModel) and spec.sampler.asked in RIVALS:
        words = f"noise: the method {spec.sampler.asked} takes one noise_level for each image"
        raise RowError(words, "bad_value")
    level = _level_of(noise, y, operator)
    arrays, key = parts.arrays, parts.key
    if task.is_compressed:
        y, stored = task.compression(row, y, grey)
        arrays, key = {**arrays, **stored.arrays}, stored.key
    colours, outcome = None, {**parts.outcome, "noise": told(noise)}
    if spec.channels == "luma" and y.shape[1] == 3:
        if len(arrays.get("mask", (None,))) > 1:
            raise RowError(
                "the mask hides channels of their own, and channels: luma takes one for all",
                "bad_mask",
            )
        if isinstance(noise, NoiseModel):
            raise RowError("noise: channels: luma takes one noise_level", "bad_value")
        outcome = {"noise_level": level, **outcome}
        to_luma = luminance()
        y, colours, noise = to_luma.forward(y), y, noise * to_luma.power.sqrt().item()
        level = noise
    return Problem(
        task=task,
        mode=spec.mode,
        y=y,
        arrays=arrays,
        noise=noise,
        noise_level=level,
        seed=row.seed_of("sampler"),
        reference=reference,
        grey=grey,
        channels=np.atleast_3d(files.image).shape[2] if grey else None,
        colours=colours,
        outcome=outcome,
        watched=values["id"] in spec.sampler.watch_ids,
        key=key,
        scale=parts.scale,
        last_level=level if spec.has_own_levels else None,
    )


def _level_of(noise: float | NoiseModel, y: Tensor, operator: Operator) -> float:
    if isinstance(noise, float):
        return noise
    return noise.rms(y, measured(operator, operator.initial(y)))


def _check_pixels(size: tuple[int, int], spec: JobSpec) -> None:
    height, width = (side * spec.task.enlargement for side in size)
    if height * width > spec.max_pixels:
        raise RowError(
            f"{width} x {height} pixels to restore, more than the job's max_pixels, "
            f"{spec.max_pixels}",
            "too_large",
        )
    if spec.takes_gradients and height * width > spec.tile**2:
        raise RowError(
            f"{width} x {height} pixels: {spec.sampler.asked} differentiates the network, which "
            f"then has no tiles; at most {spec.tile} x {spec.tile} pixels (tile)",
            "too_large",
        )


def _degraded(
    row: Row, size: tuple[int, int], operator: Operator, grey: bool
) -> tuple[Tensor, Tensor]:
    """A benchmark's measurement of a clean image, and the part of the image that it shows."""
    task = row.spec.task
    scene = task.scene(row.image, size, operator)
    try:
        y = task.degraded(row, scene, operator, grey)
    except (RuntimeError, ValueError) as e:
        text = f"the operator cannot be applied to {size_text(row.image)} pixels: {e}"
        raise RowError(text, "failed") from None
    return y, operator.frame(scene)


def _checked_reference(row: Row, shape: Sequence[int]) -> Tensor | None:
    """The row's reference, which scenes of that shape (C, H, W) are compared with."""
    if row.files.reference is None:
        return None
    reference = row.tensor_of(row.files.reference, "reference")
    channels, height, width = shape
    if reference.shape[2:] != (height, width):
        raise RowError(
            f"the reference is {size_text(reference)} pixels, expected {width} x {height}",
            "size_mismatch",
        )
    if channels != reference.shape[1] and 1 not in (channels, reference.shape[1]):
        raise RowError(
            f"the reference has {reference.shape[1]} channels, and the image {channels}",
            "wrong_format",
        )
    return reference


def operator_of(problems: Sequence[Problem], device: str | torch.device = "cpu") -> Operator:
    """The operator of a batch of problems that share a ``shape_key``."""
    first = problems[0]
    arrays = [problem.arrays for problem in problems]
    height, width = first.y.shape[2:]
    batch = BatchParts(arrays, (height, width), first.mode, device)
    operator = first.task.operator_for(batch)
    if not first.task.is_compressed:
        return operator
    levels = torch.tensor([problem.noise_level for problem in problems], device=device)
    return Compressed(operator, stored_intervals(batch, levels))


def guess_of(problems: Sequence[Problem], operator: Operator, y: Tensor) -> Tensor:
    """(B, C, H, W), the scenes as far as y alone tells: enlarged, or filled from neighbours.

    ``y`` is that of the problems, which share a ``shape_key``, where the operator works.
    """
    return problems[0].task.guess(operator, y, [problem.arrays for problem in problems])


def start_of(
    problems: Sequence[Problem], operator: Operator, y: Tensor, config: SamplerConfig
) -> Tensor | None:
    """The sampler's ``guess``; None, its own, where noise drowns it, as the paper's does.

    Else the start image had better have no black holes.
    """
    return guess_of(problems, operator, y) if config.starts_from_guess else None


def baseline_of(problem: Problem) -> Tensor:
    """(1, C, H, W), what one would show without a prior; 1 is white."""
    operator = operator_of([problem])
    y = problem.y if problem.colours is None else problem.colours
    return problem.peak * operator.frame(guess_of([problem], operator, y))
