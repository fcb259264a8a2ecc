"""``diffpir report``: a run's pictures and numbers as one HTML page, in a file or live.

In a notebook, :func:`gallery` shows the same page inline.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from jobs.report.notebook import Inline


def gallery(
    *outputs: str, limit: int = 24, height: int = 720, allow_code: Collection[str] = ()
) -> Inline:
    """The page of a run, or of several over the same images, for a notebook to show.

    Args:
        outputs: folders or URIs of jobs; the others are compared with the first.
        limit: images that are shown with their pictures.
        height: of the page in the notebook, in pixels.
        allow_code: modules and packages that a benchmark's task may import.

    Raises:
        PipelineError: no results there, or no id in common.
        StorageError: an output cannot be read.
    """
    from jobs.report.notebook import Inline

    return Inline.of(outputs, limit, height, allow_code)
