"""JPEG compression: the measurement is what a file stores, quantised coefficients."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, ClassVar, Literal

import numpy as np

from diffpir.config import SamplerConfig
from pipeline.errors import RowError
from pipeline.pictures.jpeg import Jpeg, Sampling, compressed, read_jpeg
from pipeline.tasks.compression import (
    Quality,
    check_quality,
    stored_in,
    stored_intervals,
    stored_parts,
)
from pipeline.tasks.defaults import Defaults
from pipeline.tasks.noise_level import NoiseLevel
from pipeline.tasks.parts import BatchParts, Mode, Parts
from pipeline.tasks.task import Task

if TYPE_CHECKING:
    from torch import Tensor

    from diffpir.operators import Operator
    from pipeline.tasks.row import Row

# Noise levels are in units of the error that a file's tables let one expect.
SETTINGS = SamplerConfig(
    nfe=12, lam=0.5, zeta=1.0, relax=0.7, spacing="karras", sigma_max=3.0, sigma_min=0.3
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
    quality: Quality | None = None
    sampling: Sampling = "4:2:0"

    required: ClassVar[tuple[str, ...]] = ()
    is_linear: ClassVar[bool] = False
    equal_channels_are_grey: ClassVar[bool] = False
    of_benchmarks: ClassVar[tuple[str, ...]] = ("quality", "sampling")
    example: ClassVar[Mapping[str, str]] = {}
    presets: ClassVar[Mapping[str, Defaults]] = {"jpeg": Defaults(paper=SETTINGS, builtin=SETTINGS)}

    @property
    def reads_stored(self) -> bool:
        return True

    def check(self, mode: Mode) -> None:
        if self.noise_level != 0:
            raise ValueError(
                "task.noise_level: jpeg takes none: how strong the compression was stands in each "
                "file; for pictures that were noisy before, restore them with denoise"
            )
        check_quality(self.quality, mode)

    def parts(self, row: Row) -> Parts:
        return stored_parts(self._stored(row), row.image.shape[1])

    def operator_for(self, batch: BatchParts) -> Operator:
        return stored_intervals(batch)

    def degraded(self, row: Row, scene: Tensor, operator: Operator, grey: bool) -> Tensor:
        from pipeline.pictures.decode import decode_image

        return row.tensor_of(decode_image(self._compressed(row), colours=False), "image")

    def _stored(self, row: Row) -> Jpeg:
        if row.spec.mode == "benchmark":
            return read_jpeg(self._compressed(row), max_pixels=row.spec.max_pixels)
        return stored_in(row)

    def _compressed(self, row: Row) -> bytes:
        image = row.files.image
        if image.dtype not in (np.uint8, np.uint16) or np.atleast_3d(image).shape[2] not in (1, 3):
            raise RowError(
                "the image is no picture of 1 or 3 channels with 8 or 16 bits, which JPEG has",
                "wrong_format",
            )
        if image.dtype == np.uint16:
            image = (image // 257).astype(np.uint8)
        return compressed(image, quality=self.quality, sampling=self.sampling)
