"""Deblurring, non-blind or with an estimated kernel; with a mask, of what was measured at all."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from pipeline.errors import RowError
from pipeline.tasks.assets import AssetFile
from pipeline.tasks.blur import Blurred
from pipeline.tasks.defaults import SPECTRAL, USUAL, Defaults
from pipeline.tasks.kernel_arrays import kernel_file
from pipeline.tasks.levin import levin_file
from pipeline.tasks.masks import (
    MaskField,
    check_mask,
    filled,
    hidden_share,
    known_part,
    mask_file,
    mask_identity,
    mask_of,
)
from pipeline.tasks.parts import Arrays, Mode, Parts

if TYPE_CHECKING:
    import pyarrow as pa
    from torch import Tensor

    from diffpir.operators import Operator
    from pipeline.pictures.pixel_mask import PixelMask
    from pipeline.tasks.row import Row


class Deblur(Blurred):
    """Undo a blur.

    Attributes:
        mask: what it hides of the blurred image was not measured.
    """

    kind: Literal["deblur"]
    mask: MaskField = None

    columns: ClassVar[tuple[str, ...]] = ("kernel", "mask")
    required: ClassVar[tuple[str, ...]] = ("noise_level", "kernel")
    example: ClassVar[Mapping[str, str]] = {
        "kernel": "{gaussian: {std: 3.0}}",
        "noise_level": "0.02",
    }
    presets: ClassVar[Mapping[str, Defaults]] = {
        "deblur": replace(USUAL, spectral=SPECTRAL, uncertainty_scale=7.4)
    }
    benchmarks: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        "deblur-gaussian": {"kernel": {"gaussian": {"size": 61, "std": 3.0}}, "noise_level": 0.05},
        "deblur-motion": {
            "kernel": {"motion": {"size": 61, "intensity": 0.5}},
            "noise_level": 0.05,
        },
    }

    @property
    def pixel_mask(self) -> PixelMask | None:
        return None if self.mask is None else self.mask.pixel_mask

    def check(self, mode: Mode) -> None:
        super().check(mode)
        check_mask(self.mask, mode)
        if self.mask is not None and self.is_compressed:
            raise ValueError("task.then: jpeg: a JPEG file stores the whole picture, without mask")

    def may_estimate(self, mode: Mode) -> bool:
        return mode == "restore" and self.mask is None

    def decomposes(self, mode: Mode, columns: Collection[str]) -> bool:
        masked = self.mask is not None or "mask" in columns
        return super().decomposes(mode, columns) and not masked

    def files(self) -> dict[str, str]:
        mask = {"mask": self.mask.file} if self.mask and self.mask.file else {}
        return super().files() | mask

    def identity(self, mode: Mode) -> dict[str, Any]:
        fields = super().identity(mode)
        return fields | {"mask": mask_identity(fields["mask"])}

    def assets(self, mode: Mode, kernels: Iterable[pa.ChunkedArray]) -> Iterable[AssetFile]:
        yield from kernel_file(self.kernel, mode)
        yield from mask_file(self.mask)
        yield from levin_file(self.kernel, kernels)

    def parts(self, row: Row) -> Parts:
        parts = super().parts(row)
        if self.mask is None and row.files.mask is None:
            return parts
        if self.is_compressed:
            raise RowError("a mask does not go with then: jpeg", "bad_mask")
        mask = mask_of(self.mask, row, self.measured_size(row, parts.arrays))
        outcome = {**parts.outcome, "hidden": hidden_share(mask)}
        return Parts({**parts.arrays, "mask": mask}, outcome)

    def measured(self, row: Row, arrays: Arrays, operator: Operator) -> tuple[Tensor, bool]:
        return known_part(row, arrays)

    def guess(self, operator: Operator, y: Tensor, arrays: Sequence[Arrays]) -> Tensor:
        return operator.initial(filled(y, arrays))
