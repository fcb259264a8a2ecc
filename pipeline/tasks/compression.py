"""JPEG compression: what a file stores of a picture, as a part of an operator."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, ClassVar, Literal

import numpy as np
from pydantic import Field

from pipeline.errors import RowError
from pipeline.pictures.jpeg import Jpeg, Sampling, compressed, read_jpeg
from pipeline.pictures.jpeg_array import from_array
from pipeline.tasks.bounds import in_octaves
from pipeline.tasks.parts import BatchParts, Mode, Parts
from pipeline.tasks.task import Task

if TYPE_CHECKING:
    from torch import Tensor

    from diffpir.operators import JpegIntervals, Rho
    from pipeline.tasks.row import Row

Quality = Annotated[int, Field(ge=1, le=100)]


class Compressible(Task):
    """A task whose measurement may have been compressed since.

    Attributes:
        then: ``jpeg`` says that what was measured, noise and all, was stored as a JPEG file.
        quality: of libjpeg, with which a benchmark does that.
        sampling: of the colours, in a benchmark.
    """

    then: Literal["jpeg"] | None = None
    quality: Quality | None = None
    sampling: Sampling = "4:2:0"

    of_benchmarks: ClassVar[tuple[str, ...]] = ("quality", "sampling")

    def check(self, mode: Mode) -> None:
        super().check(mode)
        if self.then is None:
            if self.quality is not None or self.sampling != "4:2:0":
                given = "sampling" if self.quality is None else "quality"
                raise ValueError(f"task.{given}: quality and sampling go with then: jpeg")
            return
        check_quality(self.quality, mode)
        if self.noise_level == "auto":
            raise ValueError(
                "task.noise_level: auto: noise cannot be told from what is left of it in a JPEG "
                "file; with then: jpeg give a number"
            )

    @property
    def is_compressed(self) -> bool:
        return self.then is not None

    def compression(self, row: Row, y: Tensor, grey: bool) -> tuple[Tensor, Parts]:
        from pipeline.pictures.decode import decode_image

        if row.noise_level == "auto":
            raise RowError("noise_level: auto: it cannot be told from a JPEG file", "bad_value")
        if row.spec.mode == "restore":
            return y, stored_parts(stored_in(row), y.shape[1])
        planes = y[0].clamp(0, 1).mul(255).round().byte().permute(1, 2, 0).numpy()
        data = compressed(
            np.ascontiguousarray(planes[..., 0] if grey else planes),
            quality=self.quality,
            sampling=self.sampling,
        )
        left = row.tensor_of(decode_image(data, colours=False), "image")
        stored = read_jpeg(data, max_pixels=row.spec.max_pixels)
        return left, stored_parts(stored, left.shape[1])


def check_quality(quality: int | None, mode: Mode) -> None:
    """Raise ValueError where a benchmark has none, or a job that restores files has one."""
    if mode == "benchmark" and quality is None:
        raise ValueError("task.quality: a benchmark compresses with one, 1 to 100")
    if mode == "restore" and quality is not None:
        raise ValueError("task.quality: it belongs to mode benchmark; files have their own")


def stored_in(row: Row) -> Jpeg:
    """What the file of a row's image stores."""
    assert row.files.stored is not None  # else reading it was the row's error
    return from_array(row.files.stored)


def stored_parts(jpeg: Jpeg, channels: int) -> Parts:
    """What :func:`stored_intervals` is made of, for scenes of so many channels.

    Raises:
        RowError: ``wrong_format``: sampling factors that do not divide one another.
    """
    import torch

    from diffpir.operators.jpeg import expected_error

    most = [max(factors) for factors in zip(*jpeg.sampling, strict=True)]
    if any(m % f for pair in jpeg.sampling for m, f in zip(most, pair, strict=True)):
        raise RowError(
            f"the JPEG file's sampling factors {jpeg.sampling} do not divide one another",
            "wrong_format",
        )
    pixels = [[m // f for m, f in zip(most, pair, strict=True)] for pair in jpeg.sampling]
    layout = np.array([*jpeg.size, jpeg.orientation, channels, *np.ravel(pixels)], np.int64)
    arrays: dict[str, np.ndarray] = {"layout": layout}
    for i, (coefficients, table) in enumerate(zip(jpeg.coefficients, jpeg.tables, strict=True)):
        arrays |= {f"coefficients-{i}": coefficients, f"table-{i}": table}
    scale = in_octaves(expected_error(torch.from_numpy(jpeg.tables[0].copy())))
    return Parts(arrays, key=tuple(layout.tolist()), scale=scale)


def stored_intervals(batch: BatchParts, noise_level: Rho = 0.0) -> JpegIntervals:
    """The bounds of the coefficients of images that share a layout."""
    from diffpir.operators import JpegIntervals

    height, width, orientation, channels, *pixels = batch.arrays[0]["layout"].tolist()
    planes = range(len(pixels) // 2)
    return JpegIntervals(
        (height, width),
        [(pixels[2 * i], pixels[2 * i + 1]) for i in planes],
        [batch.stacked(f"coefficients-{i}") for i in planes],
        [batch.stacked(f"table-{i}") for i in planes],
        orientation,
        noise_level,
        channels,
    )
