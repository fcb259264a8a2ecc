"""Mistakes that a run's results show, counted over all of them."""

from __future__ import annotations

from collections.abc import Iterator

from pipeline.job_warnings import MOSTLY_HIDDEN, NOT_EXPLAINED, TOO_CLEAN
from pipeline.output.parts import Tally


def result_warnings(total: Tally) -> Iterator[str]:
    """What the user should hear of a job's results, which were counted."""
    rows = total.rows - total.failed
    if many := total.unexplained:
        yield (
            f"{many} of {rows} results ({many / rows:.0%}) do not explain what was "
            f"measured (residual above {NOT_EXPLAINED:g}, expected near 1): the noise level is too "
            "low for these images, or the kernel (or another setting of the task) is not theirs"
        )
    if many := total.too_clean:
        yield (
            f"{many} of {rows} images ({many / rows:.0%}) have less noise than the noise level "
            f"says (residual below {TOO_CLEAN:g}, expected near 1): it is too high for them, or "
            "they were never degraded; restore them with a lower one (auto estimates it)"
        )
    if many := total.mostly_hidden:
        yield (
            f"{many} of {rows} masks hide more than {MOSTLY_HIDDEN:.0%} of the pixels: "
            "light is known and dark is hidden; invert them if the light part was to be hidden"
        )
