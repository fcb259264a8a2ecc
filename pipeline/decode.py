"""Bytes of files into arrays: images, masks and kernels. Every failure is a :class:`RowError`."""

from __future__ import annotations

import io
import warnings

import numpy as np
from PIL import Image, ImageOps

from manifests.formats import decodable_formats
from pipeline.errors import RowError

MAX_PIXELS = 2**27  # by the header, before decoding: a small file can claim a huge image
FIRST_IS_WHOLE = ("MPO", "PSD")  # formats whose further frames are previews or layers
GREY_MODES = ("1", "L", "LA", "La", "I", "F")


def decode_image(data: bytes) -> np.ndarray:
    """A picture as (H, W) if it is grey, else (H, W, 3) RGB; uint8, or uint16 if it has 16 bits.

    Palettes, CMYK and the like become RGB, alpha is dropped, EXIF orientation is applied.

    Raises:
        RowError: empty, not an image, broken, too large, or of several frames.
    """
    if not data:
        raise RowError("the image file is empty (0 bytes)")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # what they warn of is checked here
            picture = Image.open(io.BytesIO(data), formats=decodable_formats())
            width, height = picture.size
            if width * height > MAX_PIXELS:
                raise RowError(f"the image is too large: {width} x {height} pixels")
            if getattr(picture, "n_frames", 1) > 1 and picture.format not in FIRST_IS_WHOLE:
                raise RowError(f"the file holds {picture.n_frames} frames or pages, not one image")
            picture.load()
            return _to_array(ImageOps.exif_transpose(picture))
    except RowError:
        raise
    except Image.UnidentifiedImageError:
        raise RowError("the file is not an image of a known format") from None
    except Exception as e:  # decoders raise OSError, ValueError, SyntaxError, struct.error, ...
        raise RowError(f"the image cannot be decoded ({type(e).__name__}: {e})") from None


def _to_array(picture: Image.Image) -> np.ndarray:
    mode = picture.mode
    if mode.startswith("I;16") or mode == "I":
        values = np.asarray(picture)
        if values.min() < 0 or values.max() > 65535:
            raise RowError("the image has integers outside 0 ... 65535")
        return values.astype(np.uint16)
    if mode == "F":
        values = np.asarray(picture, np.float64)
        if not (np.isfinite(values).all() and values.min() >= 0 and values.max() <= 1):
            raise RowError("the image has floating-point values outside 0 ... 1")
        return np.round(values * 65535).astype(np.uint16)
    return np.asarray(picture.convert("L" if mode in GREY_MODES else "RGB"))


def decode_mask(data: bytes) -> np.ndarray:
    """(H, W) bool from an image (light: known, dark: hidden) or a ``.npy`` (0: hidden).

    Raises:
        RowError: neither of them, or not two-dimensional.
    """
    if _is_numpy(data):
        mask = _load_numpy(data, "mask", None)
        if mask.ndim != 2:
            raise RowError(f"the mask has shape {mask.shape}, expected (height, width)")
        if mask.dtype.kind not in "biuf" or not np.isfinite(mask).all():
            raise RowError(f"the mask holds {mask.dtype} values that are no finite numbers")
        return mask != 0
    picture = decode_image(data)
    level = picture if picture.ndim == 2 else picture.mean(axis=2)
    return level >= np.iinfo(picture.dtype).max / 2


def decode_kernel(data: bytes, name: str | None = None) -> np.ndarray:
    """(kh, kw) float64 of unit sum from ``.npy``, ``.npz`` (its only array, or ``name``) or image.

    Raises:
        RowError: not such a file, or values that no blur has (negative, NaN, all zero).
    """
    if _is_numpy(data):
        kernel = _load_numpy(data, "kernel", name)
    else:
        kernel = decode_image(data)
        kernel = kernel if kernel.ndim == 2 else kernel.mean(axis=2)
    return check_kernel(kernel)


def check_kernel(kernel: np.ndarray) -> np.ndarray:
    """The kernel as float64 of unit sum; a RowError if it is not a blur."""
    if kernel.ndim != 2 or kernel.dtype.kind not in "uif" or not kernel.size:
        raise RowError(
            f"the kernel is {kernel.dtype} of shape {kernel.shape}, "
            "expected numbers of shape (height, width)"
        )
    kernel = kernel.astype(np.float64)
    if not np.isfinite(kernel).all():
        raise RowError("the kernel holds NaN or infinity")
    if kernel.min() < 0:
        raise RowError(f"the kernel holds negative values (down to {kernel.min():.3g})")
    if kernel.max() <= 0:
        raise RowError("the kernel is zero everywhere")
    kernel = kernel / kernel.max()  # so that the sum of large values does not overflow
    return kernel / kernel.sum()


def kernel_names(data: bytes) -> list[str]:
    """Names of the arrays in an ``.npz``; none for any other file."""
    if not data.startswith(b"PK"):
        return []
    try:
        return list(np.load(io.BytesIO(data), allow_pickle=False).files)
    except Exception as e:
        raise RowError(f"the kernel file cannot be read ({type(e).__name__}: {e})") from None


def _is_numpy(data: bytes) -> bool:
    return data.startswith((b"\x93NUMPY", b"PK"))


def _load_numpy(data: bytes, what: str, name: str | None) -> np.ndarray:
    try:
        loaded = np.load(io.BytesIO(data), allow_pickle=False)
        if isinstance(loaded, np.ndarray):
            return loaded
        names = loaded.files
        if name is None and len(names) == 1:
            name = names[0]
        if name not in names:
            raise RowError(f"the {what} file holds {', '.join(names)}: name one of them")
        array = loaded[name]
        if not isinstance(array, np.ndarray):
            raise RowError(f"the {what} file is an archive, but not of numpy arrays")
        return array
    except RowError:
        raise
    except Exception as e:  # a zip or npy parser's error, whatever it is
        raise RowError(f"the {what} cannot be read ({type(e).__name__}: {e})") from None
