"""Few levels: of each pixel it is only known which levels it lies between."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal

import numpy as np
from pydantic import Field

from diffpir.config import SamplerConfig
from pipeline.errors import RowError
from pipeline.tasks.bounds import BoundsTask, in_octaves
from pipeline.tasks.defaults import Defaults
from pipeline.tasks.levels import MAX_LEVELS, Cells, shades_of
from pipeline.tasks.noise_level import NoiseLevel
from pipeline.tasks.parts import Mode

if TYPE_CHECKING:
    from torch import Tensor

    from pipeline.tasks.row import Row

LEAST_ERROR = 1 / 255  # that is taken for that of the levels
# Noise levels are in units of the error of rounding to the levels.
SETTINGS = SamplerConfig(
    nfe=12, lam=5.0, zeta=1.0, relax=0.5, spacing="karras", sigma_max=3.0, sigma_min=0.3
)


class Dequantize(BoundsTask):
    """Find the shades between few levels: of posterised pictures, or of few bits.

    Attributes:
        levels: of each channel, evenly spaced from black to white; by default those that a
            picture has, whatever their spacing.
        cells: which shades became a level: ``nearest``, those nearer to it than to its neighbours,
            or ``equal``, an equal share of all shades each, as where bits were cut off. By default
            what the picture's values tell, and in a benchmark the nearest.
        noise_level: of the noise that the picture had before.
    """

    kind: Literal["dequantize"]
    noise_level: NoiseLevel | None = 0.0
    levels: Annotated[Annotated[int, Field(ge=2, le=MAX_LEVELS)] | None, Field(examples=["16"])] = (
        None
    )
    cells: Cells | None = None

    required: ClassVar[tuple[str, ...]] = ()
    example: ClassVar[Mapping[str, str]] = {}
    presets: ClassVar[Mapping[str, Defaults]] = {
        "dequantize": Defaults(paper=SETTINGS, builtin=SETTINGS)
    }
    benchmarks: ClassVar[Mapping[str, Mapping[str, Any]]] = {"dequantize": {"levels": 8}}

    def check(self, mode: Mode) -> None:
        super().check(mode)
        if mode == "benchmark" and self.levels is None:
            raise ValueError(f"task.levels: a benchmark quantises to so many, 2 to {MAX_LEVELS}")
        if self.noise_level == "auto":
            raise ValueError(
                "task.noise_level: auto: it cannot be told from so few levels; give a number"
            )

    def limited(self, x: Tensor) -> Tensor:
        assert self.levels is not None  # checked
        if self.cells == "equal":
            index = (x * self.levels).floor().clamp(0, self.levels - 1)
        else:
            index = (x * (self.levels - 1)).round().clamp(0, self.levels - 1)
        return index / (self.levels - 1)

    def bounds(self, row: Row, y: Tensor, noise_level: float) -> tuple[Tensor, Tensor]:
        import torch

        if row.noise_level == "auto":
            raise RowError("noise_level: auto: it cannot be told from so few levels", "bad_value")
        found = [np.unique(plane, return_inverse=True) for plane in y[0].numpy()]
        shades = shades_of([values for values, _ in found], self.levels, self.cells)
        low, high = torch.empty_like(y), torch.empty_like(y)
        for c, ((_, index), ends) in enumerate(zip(found, shades, strict=True)):
            if noise_level:  # what was quantised may have been beyond black and white
                ends = np.where(ends <= 0, -math.inf, np.where(ends >= 1, math.inf, ends))
            low[0, c], high[0, c] = torch.from_numpy(ends[:, index].reshape(2, *y.shape[2:]))
        return low, high

    def scale_of(self, low: Tensor, high: Tensor) -> float:
        width = (high.clamp(max=1) - low.clamp(min=0)).square().mean().sqrt()
        return in_octaves(max(2 * width.item() / math.sqrt(12), LEAST_ERROR))
