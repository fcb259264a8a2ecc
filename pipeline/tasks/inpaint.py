"""Inpainting: a mask hides some of the pixels."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from diffpir.config import PRESETS, SamplerConfig
from pipeline.tasks.assets import AssetFile
from pipeline.tasks.defaults import Defaults, spectral
from pipeline.tasks.masks import (
    MaskField,
    check_hides,
    check_mask,
    filled,
    hidden_share,
    known_part,
    mask_file,
    mask_identity,
    mask_of,
)
from pipeline.tasks.noise_level import NoiseLevel
from pipeline.tasks.parts import Arrays, BatchParts, Mode, Parts
from pipeline.tasks.task import Task

if TYPE_CHECKING:
    import pyarrow as pa
    from torch import Tensor

    from diffpir.operators import Operator
    from pipeline.pictures.pixel_mask import PixelMask
    from pipeline.tasks.row import Row


class InpaintTask(Task):
    """``y = m x + n`` where the mask m is 1.

    Attributes:
        mask: a file (light is known, dark is hidden), or what tells the hidden pixels of each
            picture: ``alpha``, ``values:0,255``, ``colour:#ff00ff``.
    """

    kind: Literal["inpaint"]
    mask: MaskField = None
    noise_level: NoiseLevel | None = 0.0

    columns: ClassVar[tuple[str, ...]] = ("mask",)
    required: ClassVar[tuple[str, ...]] = ("noise_level", "mask")
    example: ClassVar[Mapping[str, str]] = {"mask": "mask.png", "noise_level": "0.0"}
    presets: ClassVar[Mapping[str, Defaults]] = {
        "inpaint": Defaults(
            paper=PRESETS["ffhq-inpaint-box"],
            builtin=SamplerConfig(lam=7.0, zeta=1.0, sigma_max=3.44),
            spectral=(spectral(20, sigma_max=4.0, sigma_min=0.04, relax=0.0, lam=2.8),),
            uncertainty_scale=3.3,
        ),
        # The neighbours of scattered holes are known, so little noise is enough.
        "inpaint-random": Defaults(
            paper=PRESETS["ffhq-inpaint-random"],
            builtin=SamplerConfig(nfe=20, lam=3.0, zeta=1.0, sigma_max=0.2085),
            spectral=(
                spectral(20, sigma_max=1.4, sigma_min=0.02, relax=0.4, lam=2.0),
                spectral(10, sigma_max=1.4, sigma_min=0.03, relax=0.3, lam=2.0),
            ),
            uncertainty_scale=3.0,
        ),
    }
    benchmarks: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        "inpaint-random": {"mask": {"random": 0.5}},
        "inpaint-box": {"mask": {"box": 64}},
    }

    @property
    def preset(self) -> str:
        mask = self.mask
        scattered = mask is not None and (mask.random is not None or mask.values is not None)
        return "inpaint-random" if scattered else "inpaint"

    @property
    def pixel_mask(self) -> PixelMask | None:
        return None if self.mask is None else self.mask.pixel_mask

    def rival_defaults(self, method: str) -> SamplerConfig:
        usual = super().rival_defaults(method)
        return replace(usual, guidance=0.5) if method == "dps" else usual  # its authors'

    def check(self, mode: Mode) -> None:
        super().check(mode)
        check_mask(self.mask, mode)

    def files(self) -> dict[str, str]:
        mask = {"mask": self.mask.file} if self.mask and self.mask.file else {}
        return super().files() | mask

    def identity(self, mode: Mode) -> dict[str, Any]:
        fields = super().identity(mode)
        return fields | {"mask": mask_identity(fields["mask"])}

    def assets(self, mode: Mode, kernels: Iterable[pa.ChunkedArray]) -> Iterable[AssetFile]:
        return mask_file(self.mask)

    def parts(self, row: Row) -> Parts:
        mask = mask_of(self.mask, row, self.measured_size(row, {}))
        check_hides(mask, self.mask, row)
        return Parts({"mask": mask}, {"hidden": hidden_share(mask)})

    def operator_for(self, batch: BatchParts) -> Operator:
        from diffpir.operators import Inpaint

        return Inpaint(batch.stacked("mask"))

    def measured(self, row: Row, arrays: Arrays, operator: Operator) -> tuple[Tensor, bool]:
        return known_part(row, arrays)

    def guess(self, operator: Operator, y: Tensor, arrays: Sequence[Arrays]) -> Tensor:
        return filled(y, arrays)
