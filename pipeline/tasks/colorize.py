"""Colorization: the measurement is the luma of the image."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from diffpir.config import PRESETS, SamplerConfig
from pipeline.tasks.defaults import Defaults
from pipeline.tasks.noise_level import NoiseLevel
from pipeline.tasks.parts import Arrays, BatchParts
from pipeline.tasks.task import Task

if TYPE_CHECKING:
    from torch import Tensor

    from diffpir.operators import Operator
    from pipeline.tasks.row import Row


class Colorize(Task):
    """Give colour to grey pictures; of a colour picture, only its luma is looked at."""

    kind: Literal["colorize"]
    noise_level: NoiseLevel | None = 0.0

    gives_colour: ClassVar[bool] = True
    example: ClassVar[Mapping[str, str]] = {}
    presets: ClassVar[Mapping[str, Defaults]] = {
        "colorize": Defaults(
            paper=PRESETS["ffhq-inpaint-box"],  # the paper has no colorization
            # From high noise the embedded prior draws a colour that is wrong all over: too little
            # colour beats that.
            builtin=SamplerConfig(lam=7.0, zeta=1.0, sigma_max=3.44),
        )
    }
    benchmarks: ClassVar[Mapping[str, Mapping[str, Any]]] = {"colorize": {}}

    def operator_for(self, batch: BatchParts) -> Operator:
        from diffpir.operators import luminance

        return luminance(device=batch.device)

    def measured(self, row: Row, arrays: Arrays, operator: Operator) -> tuple[Tensor, bool]:
        return operator.forward(row.image), False
