"""Images of any number of channels, and of any numbers: NumPy's files, and TIFFs of such."""

from __future__ import annotations

import io
import math
import struct
from typing import TYPE_CHECKING

import numpy as np

from manifests.array_files import NPY, channels_come_first, npy_header
from pipeline.errors import RowError
from pipeline.pictures.metadata import Layout
from pipeline.pictures.words import one_line, reading

if TYPE_CHECKING:
    from tifffile import TiffFile, TiffPage

TIFF = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
MAX_CHANNELS = 1000
VALUES_PER_PIXEL = 4  # as a colour picture with transparency has: the most where pixels are most
BLACK_IS_ZERO, RGB = 1, 2  # photometric interpretations
ALPHA = (1, 2)  # of a further channel, premultiplied or not
INCHES = {2: 1.0, 3: 2.54}  # that a TIFF's unit of length goes into an inch


class ChannelArray:
    """An image as a file holds it.

    Attributes:
        values: (H, W) or (H, W, C), finite numbers.
        layout: as of :class:`pipeline.pictures.metadata.Metadata`.
        orientation: a TIFF's, 1 to 8.
        inches: width and height, where a TIFF says how large it is, as it is stored.
    """

    def __init__(
        self,
        values: np.ndarray,
        layout: Layout = "",
        orientation: int = 1,
        inches: tuple[float, float] | None = None,
    ):
        if values.ndim == 3 and values.shape[2] == 1:
            values = values[:, :, 0]
        if values.dtype.kind == "f" and not np.isfinite(values).all():
            raise RowError("the image holds NaN or infinity; expected finite numbers", "bad_pixels")
        self.values, self.layout = values, layout
        self.orientation, self.inches = orientation, inches


def read_npy(data: bytes, max_pixels: int) -> ChannelArray:
    """The image in a ``.npy``: (H, W), (H, W, C) or (C, H, W).

    Raises:
        RowError: ``damaged``, ``too_large``, ``bad_pixels`` or ``out_of_memory``.
    """
    with reading("image"):
        shape, dtype = npy_header(io.BytesIO(data))
        if dtype.kind not in "uif":
            text = f"the image holds {dtype} values; expected integers or floating-point numbers"
            raise RowError(one_line(text), "bad_pixels")
        if len(shape) not in (2, 3):
            text = f"the image has the shape {shape}; expected (H, W), (H, W, C) or (C, H, W)"
            raise RowError(one_line(text), "bad_pixels")
        first = len(shape) == 3 and channels_come_first(shape)
        _check_shape((*shape[1:], shape[0]) if first else shape, max_pixels)
        values = np.load(io.BytesIO(data), allow_pickle=False)
    values = values.astype(values.dtype.newbyteorder("="), copy=False)
    return ChannelArray(np.moveaxis(values, 0, 2) if first else values, "first" if first else "")


def read_tiff(data: bytes, channels: int, numbers: bool, max_pixels: int) -> ChannelArray | None:
    """The image in a TIFF; None where the file is one for Pillow: a picture, or a broken file.

    Args:
        data: the file.
        channels: that are wanted. Pages are channels unless they are 3: then what has several
            pages is not one picture.
        numbers: of which the job says what is black and white, so that even a picture is read so.
        max_pixels: that it may have.

    Raises:
        RowError: ``damaged``, ``too_large``, ``several_frames``, ``bad_pixels`` or
            ``out_of_memory``.
    """
    from tifffile import TiffFile, TiffPage

    try:
        file = TiffFile(io.BytesIO(data))
        every = [page for page in file.pages if isinstance(page, TiffPage)]
        pages = [page for page in every if not page.is_reduced]
        wanted = _is_array(pages, channels, numbers)
    except Exception:  # a parser's error: Pillow knows more kinds, and the words for what is broken
        return None
    if not wanted:
        return None
    with file, reading("image"):
        if _names_another(file, every[-1]):
            raise RowError(f"the file is cut short after page {len(every)}", "damaged")
        return _read(pages, max_pixels)


def _names_another(file: TiffFile, page: TiffPage) -> bool:
    """Whether a page names one that comes after it."""
    kind, handle = file.tiff, file.filehandle
    handle.seek(page.offset)
    (tags,) = struct.unpack(kind.tagnoformat, handle.read(kind.tagnosize))
    handle.seek(page.offset + kind.tagnosize + tags * kind.tagsize)
    following = handle.read(kind.offsetsize)
    return following != bytes(kind.offsetsize)


def _is_array(pages: list[TiffPage], channels: int, numbers: bool) -> bool:
    page, plain = pages[0], channels in (1, 3)
    if page.photometric not in (BLACK_IS_ZERO, RGB) or page.dtype is None:
        return False
    if len(pages) > 1:
        return channels != 3 and page.samplesperpixel == 1
    if numbers or not plain:
        return True
    samples = page.samplesperpixel
    if page.photometric == RGB:
        # Of more samples than four Pillow takes the colours where they have 8 bits.
        return page.dtype.kind == "f" or page.dtype.itemsize > (1 if samples > 4 else 2)
    alpha = samples == 2 and page.extrasamples and page.extrasamples[0] in ALPHA
    return page.dtype == np.float16 or (samples > 1 and not alpha)


def _read(pages: list[TiffPage], max_pixels: int) -> ChannelArray:
    page = pages[0]
    if page.dtype is None or page.dtype.kind not in "uif":
        raise RowError("the image holds no integers or floating-point numbers", "bad_pixels")
    if page.imagedepth != 1 or any(
        (other.shape, other.dtype) != (page.shape, page.dtype) for other in pages
    ):
        text = "the file holds pages of different sizes, or volumes; expected a page per channel"
        raise RowError(text, "several_frames")
    height, width = page.imagelength, page.imagewidth
    _check_shape((height, width, max(len(pages), page.samplesperpixel)), max_pixels)
    if len(pages) > 1:
        values = np.stack([one.asarray(maxworkers=1) for one in pages], axis=2)
    else:
        values = page.asarray(maxworkers=1)
        if page.samplesperpixel > 1 and values.shape[0] != height:
            values = np.moveaxis(values, 0, 2)
    if values.shape[:2] != (height, width):
        raise RowError(f"the image cannot be read: its shape is {values.shape}", "damaged")
    tag = page.tags.get("Orientation")
    orientation = tag.value if tag and isinstance(tag.value, int) else 1
    return ChannelArray(values, "pages" if len(pages) > 1 else "", orientation, _inches(page))


def _inches(page: TiffPage) -> tuple[float, float] | None:
    unit = INCHES.get(int(page.resolutionunit))
    across, down = page.resolution
    if unit is None or not (across > 0 and down > 0):
        return None
    return page.imagewidth / (across * unit), page.imagelength / (down * unit)


def _check_shape(shape: tuple[int, ...], max_pixels: int) -> None:
    height, width, channels = (*shape, 1)[:3]
    if min(shape) < 1:
        raise RowError("the image is an empty array", "bad_pixels")
    if channels > MAX_CHANNELS:
        text = f"the image has {channels} channels or pages, {MAX_CHANNELS} are allowed"
        raise RowError(text, "too_large")
    if height * width > max_pixels or math.prod(shape) > VALUES_PER_PIXEL * max_pixels:
        raise RowError(
            f"the image is too large: {width} x {height} pixels of {channels} channels; "
            f"{max_pixels} pixels are allowed, and {VALUES_PER_PIXEL * max_pixels} values",
            "too_large",
        )


def is_npy(data: bytes) -> bool:
    return data.startswith(NPY)


def is_tiff(data: bytes) -> bool:
    return data.startswith(TIFF)
