"""Bytes of files into arrays: images, masks and kernels. Every failure is a :class:`RowError`.

These functions run in the child process of :mod:`pipeline.fence`, which bounds memory and time.
Here the size that a file claims is compared with ``max_pixels``.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageFile

from pipeline.errors import RowError
from pipeline.pictures.array_files import NPY, ZIP, array_names, is_arrays, read_array
from pipeline.pictures.channel_arrays import (
    ChannelArray,
    is_npy,
    is_tiff,
    read_npy,
    read_tiff,
)
from pipeline.pictures.colour import is_profile_of, to_srgb
from pipeline.pictures.deep import decode_deep, deep_colour
from pipeline.pictures.metadata import Metadata, orientation, read_metadata
from pipeline.pictures.opening import check_size, opened
from pipeline.pictures.pixel_mask import PixelMask, known_pixels

MAX_PIXELS = 2**27
MAX_KERNEL_PIXELS = 2**20  # 1024 x 1024, as the job's own kernels
GREY_MODES = ("1", "L", "LA", "La", "I", "F")
UPRIGHT: dict[
    int, Callable[[np.ndarray], np.ndarray]
] = {  # EXIF orientation -> what turns the picture upright
    2: np.fliplr,
    3: lambda array: np.rot90(array, 2),
    4: np.flipud,
    5: lambda array: array.swapaxes(0, 1),
    6: lambda array: np.rot90(array, -1),
    7: lambda array: np.rot90(array, 2).swapaxes(0, 1),
    8: np.rot90,
}
QUARTER_TURNS = (5, 6, 7, 8)


@dataclass(frozen=True)
class Picture:
    """A decoded picture, upright and in sRGB; or an image of other channels, as the file has it.

    Attributes:
        pixels: (H, W) if it is grey, else (H, W, 3) RGB; uint8, or uint16 if it has 16 bits. Of
            an array (H, W) or (H, W, C), any finite numbers.
        alpha: (H, W) of the same type, 0 where it is transparent; None if the file has none.
        metadata: what its file says beside.
        known: (H, W) or (H, W, 3) bool, False where its own pixels tell that they are hidden; None
            if nobody asked.
    """

    pixels: np.ndarray
    alpha: np.ndarray | None
    metadata: Metadata
    known: np.ndarray | None = None


def decode_image(
    data: bytes,
    *,
    max_pixels: int = MAX_PIXELS,
    colours: bool = True,
    channels: int = 3,
    numbers: bool = False,
) -> np.ndarray:
    """The pixels alone of :func:`decode_picture`."""
    return decode_picture(
        data, max_pixels=max_pixels, colours=colours, channels=channels, numbers=numbers
    ).pixels


def decode_picture(
    data: bytes,
    *,
    max_pixels: int = MAX_PIXELS,
    colours: bool = True,
    mask: PixelMask | None = None,
    channels: int = 3,
    numbers: bool = False,
) -> Picture:
    """A picture from a file of any format that Pillow reads, or an array of channels.

    The latter are ``.npy`` files, and TIFFs of other channels than pictures have, or of pages, each
    of which is a channel (:mod:`pipeline.pictures.channel_arrays`).

    Palettes, CMYK and the like become RGB; EXIF orientation and the colour profile are applied.
    A profile that is broken or of another kind of pixels is left out of account.

    Args:
        data: the file.
        max_pixels: that it may have.
        colours: are what its pixels are; those of masks and kernels are numbers, which no profile
            is to change.
        mask: what tells its hidden pixels. It speaks of the file's samples, before any profile; of
            the colours of a palette; and of RGB where they are CMYK.
        channels: that the prior takes: unless they are 3, a TIFF's pages are channels; unless they
            are 1 or 3, all that a TIFF holds are.
        numbers: the job says which of them are black and white: a TIFF is read as it is.

    Raises:
        RowError: ``empty_file``, ``not_an_image``, ``damaged``, ``too_large`` (more pixels than
            ``max_pixels``), ``several_frames``, ``bad_pixels`` or ``out_of_memory``.
    """
    if is_npy(data):
        return _of_array(read_npy(data, max_pixels), mask)
    if is_tiff(data) and (array := read_tiff(data, channels, numbers, max_pixels)):
        return _of_array(array, mask)
    with opened(data, max_pixels) as picture:
        return _read(picture, data, max_pixels, colours and not numbers, mask)


def _of_array(array: ChannelArray, mask: PixelMask | None) -> Picture:
    values, inches = array.values, array.inches
    if array.orientation in UPRIGHT:
        values = UPRIGHT[array.orientation](values)
    if inches and array.orientation in QUARTER_TURNS:
        inches = inches[::-1]
    known = None if mask is None else known_pixels(mask, values, None)
    metadata = Metadata(inches=inches, layout=array.layout)
    return Picture(np.ascontiguousarray(values), None, metadata, known)


def _read(
    picture: ImageFile.ImageFile,
    data: bytes,
    max_pixels: int,
    colours: bool,
    mask: PixelMask | None = None,
) -> Picture:
    # What reading forgets: Pillow turns a TIFF as it reads it.
    deep, turned = deep_colour(picture), picture.format == "TIFF"
    turn_by = orientation(picture) if turned else None
    picture.load()
    check_size(picture, max_pixels)  # an icon can be larger than its header says
    if not turned:
        turn_by = orientation(picture)
    if deep:
        picture.close()  # frees its pixels, which are cut to 8 bits
    samples, alpha = decode_deep(data, deep) if deep else _samples(picture)
    known, is_cmyk = None, samples.shape[2:] == (4,)
    if mask and not is_cmyk:
        known = known_pixels(mask, samples, alpha, floating=picture.mode == "F")
    converted = to_srgb(samples, picture.info.get("icc_profile")) if colours else None
    if converted is not None:
        samples = converted
    elif is_cmyk:  # without a profile
        samples = np.asarray(picture.convert("RGB"))
    if mask and is_cmyk:
        known = known_pixels(mask, samples, alpha)
    if turn_by in UPRIGHT and (deep or not turned):
        turn = UPRIGHT[turn_by]
        samples, alpha = turn(samples), None if alpha is None else turn(alpha)
        known = None if known is None else turn(known)
    quarter, srgb = turn_by in QUARTER_TURNS, converted is not None
    metadata = read_metadata(picture, data, samples.shape[:2], quarter, srgb)
    profile = picture.info.get("icc_profile")
    if not colours and is_profile_of(profile, samples):
        metadata = dataclasses.replace(metadata, profile=profile)
    return Picture(
        np.ascontiguousarray(samples),
        None if alpha is None else np.ascontiguousarray(alpha),
        metadata,
        None if known is None else np.ascontiguousarray(known),
    )


def _samples(picture: Image.Image) -> tuple[np.ndarray, np.ndarray | None]:
    """Grey (H, W), RGB (H, W, 3) or CMYK (H, W, 4); and transparency (H, W), if there is any."""
    mode = picture.mode
    if mode.startswith("I;16") or mode == "I":
        values = np.asarray(picture)
        if values.min() < 0 or values.max() > 65535:
            raise RowError("the image has integers outside 0 ... 65535", "bad_pixels")
        clear = picture.info.get("transparency")
        alpha = np.where(values == clear, 0, 65535) if isinstance(clear, int) else None
        return values.astype(np.uint16), None if alpha is None else alpha.astype(np.uint16)
    if mode == "F":
        values = np.asarray(picture, np.float64)
        if not (np.isfinite(values).all() and values.min() >= 0 and values.max() <= 1):
            raise RowError("the image has floating-point values outside 0 ... 1", "bad_pixels")
        return np.round(values * 65535).astype(np.uint16), None
    grey = mode in GREY_MODES
    if picture.has_transparency_data:
        wanted = "LA" if grey else "RGBA"
        values = np.asarray(picture if mode == wanted else picture.convert(wanted))
        return values[..., 0] if grey else values[..., :3], values[..., -1]
    wanted = "L" if grey else "CMYK" if mode == "CMYK" else "RGB"
    return np.asarray(picture if mode == wanted else picture.convert(wanted)), None


def _grey(picture: np.ndarray) -> np.ndarray:
    return picture if picture.ndim == 2 else picture.mean(axis=2, dtype=np.float32)


def decode_mask(data: bytes, *, max_pixels: int = MAX_PIXELS) -> np.ndarray:
    """(H, W) bool from an image (light: known, dark: hidden) or a ``.npy`` (0: hidden).

    Raises:
        RowError: as :func:`decode_image`, or ``bad_mask``: not two-dimensional, not numbers, or
            every pixel is hidden.
    """
    if data.startswith((NPY, ZIP)):
        mask = read_array(data, "mask", None, max_pixels)
        if not mask.size or mask.dtype.kind == "c" or not np.isfinite(mask).all():
            text = f"the mask holds {mask.dtype} values that are no finite numbers"
            raise RowError(text if mask.size else "the mask is an empty array", "bad_mask")
        known = mask != 0
    else:
        picture = decode_image(data, max_pixels=max_pixels, colours=False)
        known = _grey(picture) >= np.iinfo(picture.dtype).max / 2
    if not known.any():
        raise RowError(
            "the mask hides every pixel; expected some to be known: in a picture those lighter "
            "than middle grey, in a .npy those that are not 0",
            "bad_mask",
        )
    return known


def decode_kernel(
    data: bytes, name: str | None = None, *, max_pixels: int = MAX_PIXELS
) -> np.ndarray:
    """(kh, kw) float64 of unit sum from ``.npy``, ``.npz``, ``.mat`` or image.

    Args:
        data: the file.
        name: of the array, where the file holds several; as :func:`kernel_names` tells them.
        max_pixels: that are allowed.

    Raises:
        RowError: as :func:`decode_image` (a kernel has at most 2**20 values, however many pixels
            are allowed), or ``bad_kernel``: values that no blur has (negative, NaN, all zero).
    """
    max_pixels = min(max_pixels, MAX_KERNEL_PIXELS)
    if is_arrays(data):
        return check_kernel(read_array(data, "kernel", name, max_pixels))
    with opened(data, max_pixels) as picture:
        if picture.mode in ("F", "I"):  # any numbers, where a picture's are in a range
            picture.load()
            check_size(picture, max_pixels)
            return check_kernel(np.asarray(picture))
        return check_kernel(_grey(_read(picture, data, max_pixels, colours=False).pixels))


def decode_noise_map(data: bytes, *, max_pixels: int = MAX_PIXELS) -> np.ndarray:
    """(H, W) float32, standard deviations from 0 to 1, from ``.npy``, ``.npz`` or ``.mat``.

    Raises:
        RowError: as :func:`read_array`, or ``bad_noise_map``: other values, or a file of another
            kind.
    """
    if not is_arrays(data):
        raise RowError("the noise map is no .npy, .npz or .mat file", "bad_noise_map")
    levels = read_array(data, "noise map", None, max_pixels)
    if not levels.size or levels.dtype.kind == "c":
        raise RowError(f"the noise map holds {levels.size} {levels.dtype} values", "bad_noise_map")
    if not ((levels >= 0) & (levels <= 1)).all():
        raise RowError(
            f"the noise map holds values from {levels.min():.3g} to {levels.max():.3g}; expected "
            "standard deviations from 0 to 1, of pixels on [0, 1]",
            "bad_noise_map",
        )
    return levels.astype(np.float32)


def check_file(data: bytes, column: str, max_pixels: int = MAX_PIXELS) -> None:
    """Decode a file as what the manifest's column of this name holds; raises RowError."""
    if column == "kernel":
        decode_kernel(data, max_pixels=max_pixels)  # a row cannot name one of several
    elif column == "mask":
        decode_mask(data, max_pixels=max_pixels)
    elif column == "noise_map":
        decode_noise_map(data, max_pixels=max_pixels)
    else:
        # As for a prior of any channels: which it has, only a job knows.
        decode_picture(data, max_pixels=max_pixels, channels=1)


def check_kernel(kernel: np.ndarray) -> np.ndarray:
    """The kernel as float64 of unit sum; a RowError (``bad_kernel``) if it is not a blur."""
    if kernel.ndim != 2 or kernel.dtype.kind not in "uif" or not kernel.size:
        raise RowError(
            f"the kernel is {kernel.dtype} of shape {kernel.shape}, "
            "expected numbers of shape (height, width)",
            "bad_kernel",
        )
    with np.errstate(all="ignore"):  # what overflows or is no number is infinite or NaN below
        kernel = kernel.astype(np.float64)
    if not np.isfinite(kernel).all():
        raise RowError("the kernel holds NaN or infinity", "bad_kernel")
    if kernel.min() < 0:
        text = f"the kernel holds negative values (down to {kernel.min():.3g})"
        raise RowError(text, "bad_kernel")
    if kernel.max() <= 0:
        raise RowError("the kernel is zero everywhere", "bad_kernel")
    with np.errstate(under="ignore"):
        kernel = kernel / kernel.max()  # so that the sum of large values does not overflow
        return kernel / kernel.sum()


def kernel_names(data: bytes, *, max_pixels: int = MAX_KERNEL_PIXELS) -> list[str]:
    """Names of the arrays in an ``.npz`` or ``.mat``; none for any other file.

    Raises:
        RowError: a broken archive.
    """
    max_pixels = min(max_pixels, MAX_KERNEL_PIXELS)
    return array_names(data, "kernel", max_pixels) if is_arrays(data) else []
