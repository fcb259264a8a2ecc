"""Over- and underexposure: of clipped pixels it is only known that they lie beyond a threshold."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal

import numpy as np
from pydantic import Field

from diffpir.config import SamplerConfig
from pipeline.errors import RowError
from pipeline.tasks.bounds import BoundsTask
from pipeline.tasks.defaults import Defaults
from pipeline.tasks.noise_level import NoiseLevel
from pipeline.tasks.parts import Mode

if TYPE_CHECKING:
    from torch import Tensor

    from pipeline.tasks.row import Row

BEYOND = 1.5  # times the threshold, that the scene may be as bright as
ROUNDING = 0.25 / 255  # of a threshold, from a pixel that was clipped there
SETTINGS = SamplerConfig(
    nfe=12, lam=10.0, zeta=1.0, relax=0.3, spacing="karras", sigma_max=0.5, sigma_min=0.03
)
Threshold = Annotated[float, Field(ge=0, le=1)]
# One for all channels, or red, green and blue.
Thresholds = Threshold | tuple[Threshold, Threshold, Threshold]


class Declip(BoundsTask):
    """Find what clipping took: pixels at or beyond a threshold lie there or further.

    Attributes:
        low, high: thresholds on [0, 1], of all channels or of red, green and blue.
        ceiling: the highest value that the scene may have, where 1 is white; by default half as
            much again as ``high`` but at least 1, and in a benchmark 1.
        clipped: in a benchmark, the share of the pixels' values that is clipped in place of
            thresholds: half of them as too dark, half as too light.
    """

    kind: Literal["declip"]
    noise_level: NoiseLevel | None = 0.0
    low: Thresholds = 0.0
    high: Thresholds = 1.0
    ceiling: Annotated[Annotated[float, Field(ge=1, le=16)] | None, Field(examples=["1.5"])] = None
    clipped: Annotated[float, Field(gt=0, lt=1)] | None = None

    required: ClassVar[tuple[str, ...]] = ()
    of_benchmarks: ClassVar[tuple[str, ...]] = ("clipped",)
    example: ClassVar[Mapping[str, str]] = {}
    presets: ClassVar[Mapping[str, Defaults]] = {
        "declip": Defaults(paper=SETTINGS, builtin=SETTINGS)
    }
    benchmarks: ClassVar[Mapping[str, Mapping[str, Any]]] = {"declip": {"clipped": 0.1}}

    def check(self, mode: Mode) -> None:
        super().check(mode)
        for low, high in zip(_three(self.low), _three(self.high), strict=True):
            if low >= high:
                raise ValueError(f"task.low: must be below high, got {low:g} and {high:g}")
        if self.clipped is not None and mode == "restore":
            raise ValueError(
                "task.clipped: it belongs to mode benchmark; to restore images give the "
                "thresholds low and high"
            )
        if self.clipped is not None and {"low", "high"} & self.model_fields_set:
            raise ValueError("task.clipped: it takes the place of low and high; give one of them")

    def peak(self, mode: Mode) -> float:
        if self.ceiling is not None:
            return self.ceiling
        return 1.0 if mode == "benchmark" else max(1.0, BEYOND * max(_three(self.high)))

    def limited(self, x: Tensor) -> Tensor:
        low, high = self._thresholds(x)
        return x.clamp(low, high)

    def bounds(self, row: Row, y: Tensor, noise_level: float) -> tuple[Tensor, Tensor]:
        import torch

        dark, light = self._clipped(y)
        # With noise, what was measured may lie beyond what a scene can be.
        least, most = (-math.inf, math.inf) if noise_level else (0.0, self.peak(row.spec.mode))
        return torch.where(dark, least, y), torch.where(light, most, y)

    def noise_of(self, row: Row, y: Tensor) -> float:
        if row.noise_level != "auto":
            return float(row.noise_level)
        dark, light = self._clipped(y)
        known = ~(dark | light).any(dim=1)
        return self.estimated_noise(y, {"mask": known.numpy()})

    def _clipped(self, y: Tensor) -> tuple[Tensor, Tensor]:
        """Which values of a measurement are too dark, and which too light."""
        low, high = self._thresholds(y)
        return y <= low + ROUNDING, y >= high - ROUNDING

    def _thresholds(self, y: Tensor) -> tuple[Tensor, Tensor]:
        """(1, 1 or C, 1, 1) each; those of a share are the least and most that clipping left.

        Raises:
            RowError: ``wrong_format``: there are three, and not as many channels.
        """
        import torch

        if self.clipped is not None:
            shares = [self.clipped / 2, 1 - self.clipped / 2]
            found = np.quantile(y.numpy(), shares).astype(np.float32)
            low, high = torch.from_numpy(found).reshape(2, 1, 1, 1, 1)
            return low, high
        low, high = (torch.tensor(t).to(y).reshape(1, -1, 1, 1) for t in (self.low, self.high))
        if not {low.shape[1], high.shape[1]} <= {1, y.shape[1]}:
            raise RowError(
                f"the image has {y.shape[1]} channels; expected 3, as low or high gives thresholds",
                "wrong_format",
            )
        return low, high


def _three(thresholds: Thresholds) -> tuple[float, float, float]:
    return thresholds if isinstance(thresholds, tuple) else (thresholds,) * 3
