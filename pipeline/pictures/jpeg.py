"""JPEG files as what they store: quantised coefficients of the discrete cosine transform (DCT)."""

from __future__ import annotations

import functools
import io
import os
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import imagecodecs
import numpy as np
from PIL import Image

from pipeline.errors import RowError
from pipeline.pictures.jpeg_markers import START, Structure, read_structure
from pipeline.pictures.metadata import orientation
from pipeline.pictures.opening import opened
from pipeline.pictures.words import one_line

LIBJPEG = "turbo210"  # of the versions that jpeglib has; arithmetic coding is included
# libjpeg complains about padding before the end, as some cameras write it. More than a few bytes
# are coded data that an error among them left over.
HARMLESS = re.compile(r"\b\d extraneous bytes before marker 0xd9")
Sampling = Literal["4:4:4", "4:2:2", "4:2:0", "4:4:0", "4:1:1"]


@dataclass(frozen=True)
class Jpeg:
    """The picture of a JPEG file, grey or YCbCr, as it is stored.

    One entry per component: Y (or grey), Cb, Cr. A sample of a component before it was quantised
    is 128 more than the inverse DCT of coefficient times table. Blocks that only complete the
    file's last minimum coded units (MCU) are left out; those at the right and lower border reach
    beyond the picture, and the encoder chose the samples there.

    Attributes:
        coefficients: int16 (block rows, block columns, 8, 8), quantised; the third axis is the
            vertical frequency, the fourth the horizontal one.
        tables: int32 (8, 8) quantisation steps in the same order, 1 ... 65535.
        sampling: (vertical, horizontal) factors. A component has the whole resolution if its
            factors are the largest of all components, and 1/n of it if they are n times smaller.
        size: height and width of the picture before it is turned upright.
        orientation: EXIF 1 ... 8, what turns it upright; 1 if the file does not say.
    """

    coefficients: tuple[np.ndarray, ...]
    tables: tuple[np.ndarray, ...]
    sampling: tuple[tuple[int, int], ...]
    size: tuple[int, int]
    orientation: int = 1


def read_jpeg(data: bytes, *, max_pixels: int) -> Jpeg:
    """The coefficients of a JPEG file: baseline, sequential or progressive, 8 bits per sample.

    libjpeg ends the process for errors that neither :func:`read_structure` nor Pillow found, and
    its warnings are read from this process's standard error: call this function by way of
    :mod:`pipeline.fence.decoders`.

    Args:
        data: the file; what follows the first picture in it is left out of account.
        max_pixels: that it may have.

    Raises:
        RowError: as :func:`pipeline.pictures.decode.decode_picture`; ``wrong_format`` for another
            format than JPEG, and for CMYK, RGB, 12 bits, lossless and hierarchical files;
            ``damaged`` too where libjpeg would replace lost data by zeros.
    """
    if not data.startswith(START + b"\xff"):
        with opened(data, max_pixels) as picture:
            raise RowError(f"the file is a {picture.format} file, expected JPEG", "wrong_format")
    structure = read_structure(data)
    with opened(data, max_pixels) as picture:
        if picture.size[::-1] != structure.size:
            raise RowError("the JPEG file tells two different sizes", "damaged")
        picture.load()  # refuses what other tasks refuse, such as files that end too early
        turn = orientation(picture)
    return Jpeg(
        _coefficients(structure),
        tuple(c.table for c in structure.components if c.table is not None),
        tuple(c.sampling for c in structure.components),
        structure.size,
        turn if turn is not None and 1 <= turn <= 8 else 1,
    )


def _coefficients(structure: Structure) -> tuple[np.ndarray, ...]:
    arrays = [np.zeros((*structure.blocks(c), 64), np.int16) for c in structure.components]
    buffers = [np.ctypeslib.as_ctypes(array) for array in arrays]
    file = os.memfd_create("jpeg")
    try:
        with open(file, "wb", closefd=False) as stream:
            stream.write(structure.stripped)
        places = buffers + [None] * (4 - len(buffers))
        said = _standard_error(lambda: _reader()(f"/proc/self/fd/{file}", *places, None, None))
    finally:
        os.close(file)
    if said and not HARMLESS.search(said):
        raise RowError(f"the JPEG file is damaged: libjpeg says '{one_line(said)}'", "damaged")
    return tuple(array.reshape(*array.shape[:2], 8, 8) for array in arrays)


@functools.cache
def _reader() -> Callable[..., None]:
    """jpeglib's function, loaded for the first file: most jobs read none.

    Its public ``read_dct`` decodes each file twice by way of a temporary file, which stays when
    it fails, and writes beyond an array when a file has more than 50 segments of applications.
    """
    import jpeglib
    from jpeglib._bind import CJpegLib

    jpeglib.version.set(LIBJPEG)
    return CJpegLib.read_jpeg_dct


def _standard_error(call: Callable[[], Any]) -> str:
    """What C code writes to standard error during the call: libjpeg's first warning, if any."""
    kept, written = os.dup(2), os.memfd_create("warnings")
    os.dup2(written, 2)
    try:
        call()
        return os.pread(written, 1000, 0).decode(errors="replace").strip()
    finally:
        os.dup2(kept, 2)
        os.close(kept)
        os.close(written)


def compressed(
    pixels: np.ndarray,
    quality: int | None = None,
    tables: list[np.ndarray] | None = None,
    sampling: Sampling = "4:2:0",
) -> bytes:
    """A baseline JPEG file of a picture, as benchmarks measure with.

    Args:
        pixels: uint8, (H, W) grey or (H, W, 3) RGB.
        quality: 1 ... 100 of libjpeg; None if ``tables`` are given.
        tables: (8, 8) quantisation steps 1 ... 255, of Y and of Cb and Cr; one is for all.
        sampling: of colours. Of 4:4:0 and 4:1:1 the ``quality`` alone can be chosen.

    Raises:
        ValueError: not exactly one of ``quality`` and ``tables`` is given, or tables with 4:4:0
            or 4:1:1.
    """
    if (quality is None) == (tables is None):
        raise ValueError("give either a quality or quantisation tables")
    if sampling in ("4:4:0", "4:1:1") and pixels.ndim == 3:  # which Pillow does not write
        if tables is not None:
            raise ValueError(f"tables cannot be chosen with {sampling}")
        code = sampling.replace(":", "")
        return bytes(imagecodecs.jpeg8_encode(pixels, level=quality, subsampling=code))
    options: dict[str, Any] = {"quality": quality}
    if tables is not None:
        options = {"qtables": [np.asarray(table).ravel().tolist() for table in tables]}
    if pixels.ndim == 3:
        options["subsampling"] = sampling
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "JPEG", **options)
    return buffer.getvalue()
