"""Demosaicing: the measurement is what a sensor behind a Bayer filter saw."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from diffpir.config import PRESETS, SamplerConfig
from pipeline.errors import RowError
from pipeline.tasks.defaults import Defaults, spectral
from pipeline.tasks.parts import Arrays, BatchParts
from pipeline.tasks.task import Task

if TYPE_CHECKING:
    from torch import Tensor

    from diffpir.operators import Operator
    from pipeline.tasks.row import Row


class Demosaic(Task):
    """Grey pictures are what a sensor with a Bayer filter saw.

    Attributes:
        pattern: the colours of the sensor's first 2 x 2 pixels, row by row.
    """

    kind: Literal["demosaic"]
    pattern: Literal["rggb", "bggr", "grbg", "gbrg"] = "rggb"

    gives_colour: ClassVar[bool] = True
    presets: ClassVar[Mapping[str, Defaults]] = {
        "demosaic": Defaults(
            paper=PRESETS["ffhq-inpaint-random"],  # the paper has no demosaicing
            # The neighbours of a missing colour are known: what is at stake is only what a
            # bilinear filter gets wrong.
            builtin=SamplerConfig(nfe=50, lam=1.0, zeta=1.0, sigma_max=0.342),
            spectral=(
                spectral(20, sigma_max=0.4, sigma_min=0.01, relax=0.3, lam=2.0),
                spectral(10, sigma_max=0.4, sigma_min=0.02, relax=0.3, lam=2.0),
            ),
            uncertainty_scale=5.1,
        )
    }
    benchmarks: ClassVar[Mapping[str, Mapping[str, Any]]] = {"demosaic": {"noise_level": 0.01}}

    def operator_for(self, batch: BatchParts) -> Operator:
        from diffpir.operators import bayer

        return bayer(*batch.size, self.pattern, device=batch.device)

    def measured(self, row: Row, arrays: Arrays, operator: Operator) -> tuple[Tensor, bool]:
        if not row.grey:
            raise RowError(
                "the image has colours; expected a sensor's values, one channel", "size_mismatch"
            )
        return row.image[:, :1], False

    def noise_sample(self, y: Tensor) -> Tensor:
        from torch.nn.functional import pixel_unshuffle

        # The filter's four pixels are as four colours.
        height, width = (side // 2 * 2 for side in y.shape[2:])
        return pixel_unshuffle(y[..., :height, :width], 2)

    def channel_levels(
        self, row: Row, levels: tuple[float, ...], y: Tensor, operator: Operator
    ) -> Tensor:
        import torch

        # Each pixel has the level of its colour.
        return operator.forward(
            torch.tensor(levels).reshape(1, -1, 1, 1).expand(1, 3, *y.shape[2:])
        )
