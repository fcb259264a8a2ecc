"""Mistakes that people make: what a job can be run with, and is seldom meant."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pipeline.spec.job import JobSpec
    from pipeline.tasks.assets import Assets

LOUD = 0.5  # noise level from which a picture shows next to nothing
MOSTLY_HIDDEN = 0.95  # share of the pixels
NOT_EXPLAINED = 2.0  # residual of a linear task, where near 1 is expected


def doubts(spec: JobSpec, assets: Assets) -> Iterator[str]:
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


def outcome_doubts(rows: int, unexplained: int, mostly_hidden: int) -> Iterator[str]:
    """What the user should hear of a job's results.

    Args:
        rows: that were restored.
        unexplained: of these, rows with a residual above ``NOT_EXPLAINED``.
        mostly_hidden: rows with masks that hide more than ``MOSTLY_HIDDEN``.
    """
    if unexplained:
        yield (
            f"{unexplained} of {rows} results ({unexplained / rows:.0%}) do not explain what was "
            f"measured (residual above {NOT_EXPLAINED:g}, expected near 1): the noise level is too "
            "low for these images, or the kernel (or another setting of the task) is not theirs"
        )
    if mostly_hidden:
        yield (
            f"{mostly_hidden} of {rows} masks hide more than {MOSTLY_HIDDEN:.0%} of the pixels: "
            "light is known and dark is hidden; invert them if the light part was to be hidden"
        )
