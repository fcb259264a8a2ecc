"""Super-resolution by a whole factor."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal

import numpy as np
from pydantic import Field

from diffpir.config import PRESETS, SamplerConfig
from pipeline.tasks.blur import Blurred
from pipeline.tasks.defaults import Defaults, spectral
from pipeline.tasks.kernel_arrays import kernel_choice

if TYPE_CHECKING:
    from torch import Tensor

    from diffpir.operators import Operator
    from pipeline.tasks.row import Row


class SuperResolve(Blurred):
    """Without a kernel, the reduction was (is) MATLAB's antialiased bicubic one.

    Attributes:
        factor: how many times wider and higher the restored picture is.
    """

    kind: Literal["sr"]
    factor: Annotated[int, Field(ge=2, le=16)]

    example: ClassVar[Mapping[str, str]] = {"factor": "4", "noise_level": "0.02"}
    presets: ClassVar[Mapping[str, Defaults]] = {
        "sr": Defaults(
            paper=PRESETS["ffhq-sr4"],
            builtin=SamplerConfig(lam=5.0, zeta=1.0, prior_std=1.0),
            spectral=(
                spectral(20, spacing="karras", sigma_max=2.0, sigma_min=0.05, relax=0.6, lam=4.0),
                spectral(10, sigma_max=1.4, sigma_min=0.05, relax=0.4, lam=2.0),
            ),
            uncertainty_scale=7.9,
        )
    }
    benchmarks: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        "sr2": {"factor": 2, "noise_level": 0.05},
        "sr4": {"factor": 4, "noise_level": 0.05},
    }

    @property
    def enlargement(self) -> int:
        return self.factor

    def rival_defaults(self, method: str) -> SamplerConfig:
        usual = super().rival_defaults(method)
        if method != "hqs":
            return usual
        # DPIR's: more steps, to a level of as many 255ths as the factor at least.
        return replace(usual, nfe=24, sigma_min=2 * self.factor / 255)

    def usual_kernel(self) -> np.ndarray:
        from diffpir.kernels import bicubic_kernel

        return bicubic_kernel(self.factor)

    def degraded(self, row: Row, scene: Tensor, operator: Operator, grey: bool) -> Tensor:
        given = row.files.kernel is not None or kernel_choice(self.kernel, row.values)
        if given or self.boundary_in("benchmark") != "circular":
            return super().degraded(row, scene, operator, grey)
        from diffpir.resize import bicubic_downsample

        # The field's reduction, which does not wrap around at the border as a blur's FFT does.
        return self.with_noise(row, bicubic_downsample(scene, self.factor), operator, grey)

    def caption(self, row: Mapping[str, Any], result: Mapping[str, Any]) -> Iterator[str]:
        kind, *kernel = super().caption(row, result)
        yield f"{kind} x{self.factor}"
        yield from kernel
