"""Pictures of whose pixels only bounds are known: what tasks that clip or quantise share."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from pipeline.tasks.parts import Arrays, BatchParts, Parts
from pipeline.tasks.task import Task

if TYPE_CHECKING:
    from torch import Tensor

    from diffpir.operators import Operator
    from pipeline.tasks.row import Row

SCALES_PER_OCTAVE = 4  # in which noise levels are counted, so that some images share a batch


class BoundsTask(Task):
    """Each pixel of the scene, with its noise, lies between two bounds.

    The column ``residual`` is the share of the pixels that do, before the picture is rounded.
    """

    is_linear: ClassVar[bool] = False

    def limited(self, x: Tensor) -> Tensor:
        """In mode benchmark: what is left of a clean image (1, C, H, W) with its noise."""
        raise NotImplementedError

    def bounds(self, row: Row, y: Tensor, noise_level: float) -> tuple[Tensor, Tensor]:
        """Lowest and highest value of each pixel, (1, C, h, w), in units of the measurement.

        Raises:
            RowError: the image is none of this task's measurements.
        """
        raise NotImplementedError

    def noise_of(self, row: Row, y: Tensor) -> float:
        """The noise level of a row's measurement."""
        return float(row.noise_level)

    def scale_of(self, low: Tensor, high: Tensor) -> float:
        """As of :class:`~pipeline.tasks.parts.Parts`."""
        return 1.0

    def parts(self, row: Row) -> Parts:
        y = self._measurement(row)
        noise_level, peak = self.noise_of(row, y), self.peak(row.spec.mode)
        low, high = self.bounds(row, y, noise_level)
        arrays = {
            "low": (low / peak)[0].numpy(),
            "high": (high / peak)[0].numpy(),
            "noise": np.array(noise_level / peak, np.float32),
        }
        return Parts(arrays, {"noise_level": noise_level}, scale=self.scale_of(low, high))

    def operator_for(self, batch: BatchParts) -> Operator:
        from diffpir.operators import Interval, Pixels

        low, high = (2 * batch.stacked(name) - 1 for name in ("low", "high"))
        return Interval(Pixels(), [low], [high], batch.stacked("noise"))

    def measured(self, row: Row, arrays: Arrays, operator: Operator) -> tuple[Tensor, bool]:
        return self._measurement(row) / self.peak(row.spec.mode), row.grey

    def degraded(self, row: Row, scene: Tensor, operator: Operator, grey: bool) -> Tensor:
        return self._measurement(row) / self.peak(row.spec.mode)

    def _measurement(self, row: Row) -> Tensor:
        if row.spec.mode == "restore":
            return row.image
        from diffpir.operators import Denoise
        from diffpir.synthesis import synthesise

        level, seed = row.noise_level, row.seed_of("noise")
        return self.limited(synthesise(row.image, Denoise(), level, seed, grey=row.grey))


def in_octaves(scale: float) -> float:
    """A scale of noise levels, rounded so that some images share it."""
    return 2 ** (round(math.log2(scale) * SCALES_PER_OCTAVE) / SCALES_PER_OCTAVE)
