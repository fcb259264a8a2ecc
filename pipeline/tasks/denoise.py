"""Denoising: the measurement is the image and white Gaussian noise."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from diffpir.config import PRESETS, SamplerConfig
from pipeline.tasks.task import Arrays, Defaults, Mode, Task

if TYPE_CHECKING:
    import torch

    from diffpir.operators import Operator


class DenoiseTask(Task):
    """``y = x + n``."""

    kind: Literal["denoise"]

    presets: ClassVar[Mapping[str, Defaults]] = {
        "denoise": Defaults(
            paper=PRESETS["ffhq-deblur-gaussian"],
            builtin=SamplerConfig(lam=5.0, zeta=1.0, first_timestep=300),
        )
    }
    benchmarks: ClassVar[Mapping[str, Mapping[str, Any]]] = {"denoise": {"noise_level": 0.1}}

    def operator_for(
        self,
        arrays: Sequence[Arrays],
        size: tuple[int, int],
        mode: Mode,
        device: str | torch.device = "cpu",
    ) -> Operator:
        from diffpir.operators import Denoise

        return Denoise()
