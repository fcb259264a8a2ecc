"""Denoising: the measurement is the image and white Gaussian noise."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from diffpir.config import PRESETS, SamplerConfig
from pipeline.tasks.compression import Compressible
from pipeline.tasks.defaults import Defaults, spectral
from pipeline.tasks.parts import BatchParts

if TYPE_CHECKING:
    from diffpir.operators import Operator


class DenoiseTask(Compressible):
    """``y = x + n``."""

    kind: Literal["denoise"]

    presets: ClassVar[Mapping[str, Defaults]] = {
        "denoise": Defaults(
            paper=PRESETS["ffhq-deblur-gaussian"],
            builtin=SamplerConfig(lam=5.0, zeta=1.0, sigma_max=1.24),
            spectral=(
                spectral(20, sigma_max=0.4, sigma_min=0.03, relax=0.5, lam=2.8),
                spectral(10, sigma_max=0.4, sigma_min=0.03, relax=0.4, lam=2.8),
            ),
            uncertainty_scale=6.2,
        )
    }
    benchmarks: ClassVar[Mapping[str, Mapping[str, Any]]] = {"denoise": {"noise_level": 0.1}}

    def operator_for(self, batch: BatchParts) -> Operator:
        from diffpir.operators import Denoise

        return Denoise()
