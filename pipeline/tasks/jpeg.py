"""JPEG compression: the measurement is what a file stores, quantised coefficients."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, ClassVar, Literal

import numpy as np
from pydantic import Field

from diffpir.config import SamplerConfig
from pipeline.errors import RowError
from pipeline.pictures.jpeg import Jpeg, Sampling, compressed, read_jpeg
from pipeline.pictures.jpeg_array import from_array
from pipeline.tasks.task import Arrays, Batch, Defaults, Mode, NoiseLevel, Parts, Task

if TYPE_CHECKING:
    from torch import Tensor

    from diffpir.operators import Operator
    from pipeline.tasks.row import Row

SCALES_PER_OCTAVE = 4  # in which files' noise levels are counted, so that some share a batch
# Noise levels are in units of the error that a file's tables let one expect.
SETTINGS = SamplerConfig(
    nfe=12, lam=0.7, zeta=1.0, relax=0.7, spacing="karras", sigma_max=3.0, sigma_min=0.3
)


class JpegTask(Task):
    """Take away what JPEG compression did: blocks, ringing, stains of colour.

    Nothing need be told: a file's own tables say within which bounds each coefficient lies, and how
    strong the compression was. The result honours them; the column ``residual`` is the share of
    the coefficients that lie within, before the picture is rounded.

    Attributes:
        quality: of libjpeg, 1 to 100, with which a benchmark compresses clean pictures.
        sampling: of the colours, in a benchmark.
    """

    kind: Literal["jpeg"]
    noise_level: NoiseLevel | None = 0.0
    quality: Annotated[int, Field(ge=1, le=100)] | None = None
    sampling: Sampling = "4:2:0"

    required: ClassVar[tuple[str, ...]] = ()
    reads_stored: ClassVar[bool] = True
    is_linear: ClassVar[bool] = False
    equal_channels_are_grey: ClassVar[bool] = False
    presets: ClassVar[Mapping[str, Defaults]] = {"jpeg": Defaults(paper=SETTINGS, builtin=SETTINGS)}

    def check(self, mode: Mode) -> None:
        if self.noise_level != 0:
            raise ValueError(
                "task.noise_level: jpeg takes none: how strong the compression was stands in each "
                "file; for pictures that were noisy before, restore them with denoise"
            )
        if mode == "benchmark" and self.quality is None:
            raise ValueError("task.quality: a benchmark compresses with one, 1 to 100")
        if mode == "restore" and self.quality is not None:
            raise ValueError("task.quality: it belongs to mode benchmark; files have their own")

    def parts(self, row: Row) -> Parts:
        import torch

        from diffpir.operators.jpeg import expected_error

        jpeg = self._stored(row)
        most = [max(factors) for factors in zip(*jpeg.sampling, strict=True)]
        if any(m % f for pair in jpeg.sampling for m, f in zip(most, pair, strict=True)):
            raise RowError(
                f"the JPEG file's sampling factors {jpeg.sampling} do not divide one another",
                "wrong_format",
            )
        pixels = [[m // f for m, f in zip(most, pair, strict=True)] for pair in jpeg.sampling]
        layout = np.array([*jpeg.size, jpeg.orientation, *np.ravel(pixels)], np.int64)
        arrays: dict[str, np.ndarray] = {"layout": layout}
        for i, (coefficients, table) in enumerate(zip(jpeg.coefficients, jpeg.tables, strict=True)):
            arrays |= {f"coefficients-{i}": coefficients, f"table-{i}": table}
        octaves = math.log2(expected_error(torch.from_numpy(jpeg.tables[0].copy())))
        scale = 2 ** (round(octaves * SCALES_PER_OCTAVE) / SCALES_PER_OCTAVE)
        return Parts(arrays, key=tuple(layout.tolist()), scale=scale)

    def measured_size(self, row: Row, arrays: Arrays) -> tuple[int, int]:
        height, width = arrays["layout"][:2].tolist()
        return height, width

    def operator_for(self, batch: Batch) -> Operator:
        from diffpir.operators import JpegIntervals

        height, width, orientation, *pixels = batch.arrays[0]["layout"].tolist()
        planes = range(len(pixels) // 2)
        return JpegIntervals(
            (height, width),
            [(pixels[2 * i], pixels[2 * i + 1]) for i in planes],
            [batch.stacked(f"coefficients-{i}") for i in planes],
            [batch.stacked(f"table-{i}") for i in planes],
            orientation,
        )

    def measured(self, row: Row, arrays: Arrays, operator: Operator) -> tuple[Tensor, bool]:
        from diffpir.operators.jpeg import as_stored

        return as_stored(row.image, int(arrays["layout"][2])), row.grey

    def degraded(self, row: Row, scene: Tensor, operator: Operator, grey: bool) -> Tensor:
        from pipeline.pictures.decode import decode_image
        from pipeline.tasks.row import to_tensor

        return to_tensor(decode_image(self._compressed(row), colours=False))

    def _stored(self, row: Row) -> Jpeg:
        if row.spec.mode == "benchmark":
            return read_jpeg(self._compressed(row), max_pixels=row.spec.max_pixels)
        assert row.files.stored is not None  # else reading it was the row's error
        return from_array(row.files.stored)

    def _compressed(self, row: Row) -> bytes:
        image = row.files.image
        if image.dtype == np.uint16:
            image = (image // 257).astype(np.uint8)
        return compressed(image, quality=self.quality, sampling=self.sampling)
