"""How a row was restored, in the few words that stand below its pictures."""

from __future__ import annotations

from collections.abc import Iterator

from pipeline.spec.job import JobSpec
from pipeline.tasks.row import own


def facts(result: dict, row: dict, spec: JobSpec) -> Iterator[str]:
    """The task, and what of it was estimated.

    Args:
        result: the columns ``kernel_estimate``, ``noise_level`` and ``noise``.
        row: of the manifest.
        spec: of the job.
    """
    yield from spec.task.caption(row, result)
    if result.get("noise_level"):
        estimated = own(row, "noise_level", spec.task.noise_level) == "auto"
        words = f"noise {result['noise_level']:.3g}"
        if model := result.get("noise"):  # results of earlier versions have none
            words += f" {model}".replace('"', "")
            estimated = "auto" in (own(row, "noise", None) or str(spec.task.noise))
        yield words + (" (estimated)" if estimated else "")
