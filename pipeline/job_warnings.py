"""Mistakes that people make: what a job can be run with, and is seldom meant."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pipeline.spec.job import JobSpec
    from pipeline.tasks.assets import Assets

LOUD = 0.5  # noise level from which a picture shows next to nothing
MOSTLY_HIDDEN = 0.95  # share of the pixels
# Residuals of a linear task, where near 1 is expected: with settings that fit, 0.7 to 1.05.
NOT_EXPLAINED, TOO_CLEAN = 2.0, 0.5
LEAST_NOISE = 0.002  # below it, rounding to 8 bits is as much as the noise, or all of it is kept


def job_warnings(spec: JobSpec, assets: Assets) -> Iterator[str]:
    """What the user should hear of a job before it begins.

    Args:
        spec: of the job.
        assets: the files that it names.
    """
    level = spec.task.noise_level
    if isinstance(level, float | int) and level > LOUD:
        yield (
            f"noise_level: {level:g} is a standard deviation of pixel values on [0, 1], and leaves "
            f"next to nothing of a picture; is it on 0..255, or in percent? Then write "
            f"{level / 255:.2g} or {level / 100:.2g}"
        )
    (mask,) = assets.arrays.get("mask", (None,))
    if mask is not None and (hidden := float(1 - mask.mean())) > MOSTLY_HIDDEN:
        yield (
            f"mask: its file hides {hidden:.1%} of the pixels; light (not 0) is known, dark (0) is "
            "hidden, so invert it if the light part was meant to be hidden"
        )


def residual_warning(residual: float, noise_level: float) -> str | None:
    """What the user should hear of the result of a linear task, if anything.

    Args:
        residual: of the result; near 1 is expected.
        noise_level: that it was restored with.
    """
    if residual > NOT_EXPLAINED:
        return (
            f"residual {residual:.2g}, expected near 1: the result does not explain what was "
            "measured; the noise level is too low, or the kernel (or another setting of the task) "
            "is not that of the image"
        )
    if residual < TOO_CLEAN and noise_level >= LEAST_NOISE:
        return (
            f"residual {residual:.2g}, expected near 1: the image has less noise than the noise "
            f"level of {noise_level:.3g} says, or none at all; details may be lost"
        )
    return None
