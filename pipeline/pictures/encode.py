"""Restored pixels into files: PNG, TIFF, JPEG, WebP, and NumPy's.

The same picture is the same file, whenever and wherever it is written.
"""

from __future__ import annotations

import io
import struct
import zlib

import imagecodecs
import numpy as np
from PIL import Image

from pipeline.errors import RowError
from pipeline.pictures.colour import grey_profile, srgb_profile
from pipeline.pictures.metadata import MAIN, PREFIX, SOFTWARE, Metadata, Tags, write_tags
from pipeline.spec.picture import PictureFile

MAX_SIDE = {"jpeg": 65500, "webp": 16383}  # what the libraries write
PNG_HEADER_BYTES = 33  # its signature and first chunk; what is said of colours comes next
DEFLATE, PREDICTOR, UNASSOCIATED, PROFILE = 8, 2, 2, 0x8773


def encode_picture(
    pixels: np.ndarray,
    how: PictureFile,
    alpha: np.ndarray | None = None,
    metadata: Metadata | None = None,
) -> bytes:
    """A file of a restored picture.

    Args:
        pixels: (H, W) or (H, W, 3), uint8 or uint16 as ``how.bits`` says, sRGB; or for tiff and
            npy (H, W, C), or float32.
        how: the format and its settings.
        alpha: transparency (h, w), uint8 or uint16; it is enlarged bicubically to the picture's
            size, and brought to its bits. A JPEG, a .npy and floating-point numbers have none.
        metadata: what else the file is to say, as far as its format can.

    Raises:
        RowError: ``too_large`` for the format, or ``wrong_format``: it holds no such channels.
    """
    metadata = metadata or Metadata()
    height, width = pixels.shape[:2]
    if how.format == "npy":
        return _npy(pixels, metadata)
    picture = pixels.ndim == 2 or pixels.shape[2] == 3
    if how.format == "tiff" and (how.bits == 32 or metadata.layout == "pages" or not picture):
        return _tiff_of_array(pixels, metadata)
    if not picture:
        raise RowError(
            f"the restored image has {pixels.shape[2]} channels, and {how.format} holds 1 or 3; "
            "write picture: tiff (or npy) in the job",
            "wrong_format",
        )
    limit = MAX_SIDE.get(how.format)
    if limit and max(height, width) > limit:
        raise RowError(
            f"the restored picture is too large for {how.format}: {width} x {height} pixels, "
            f"{limit} a side are the most",
            "too_large",
        )
    tags = metadata.tags(width, height)
    profile = metadata.profile or None
    if profile and pixels.ndim == 2 and how.format == "webp":
        profile = None  # it is one of greys
    if metadata.srgb:
        grey = pixels.ndim == 2 and how.format != "webp"  # which has no greys
        profile = grey_profile() if grey else srgb_profile()
    channels = [pixels if pixels.ndim == 3 else pixels[..., None]]
    if alpha is not None and how.format != "jpeg":
        channels.append(_fitted(alpha, pixels)[..., None])
    samples = np.concatenate(channels, axis=2)
    if how.format == "tiff":
        return _tiff(samples, alpha is not None, profile, tags)
    exif = write_tags(tags)
    if how.format == "png":
        return _png(samples, profile, exif, metadata.resolution(width, height))
    return _by_pillow(samples, how, profile, exif, metadata.resolution(width, height))


def _fitted(alpha: np.ndarray, pixels: np.ndarray) -> np.ndarray:
    """Transparency of the size and the type of these pixels."""
    most, wanted = np.iinfo(alpha.dtype).max, np.iinfo(pixels.dtype).max
    if alpha.shape != pixels.shape[:2]:
        size = pixels.shape[1], pixels.shape[0]
        larger = Image.fromarray(alpha.astype(np.float32)).resize(size, Image.Resampling.BICUBIC)
        alpha = np.clip(np.asarray(larger), 0, most)
    elif most == wanted:
        return alpha
    return np.round(alpha * (wanted / most)).astype(pixels.dtype)


def _npy(pixels: np.ndarray, metadata: Metadata) -> bytes:
    buffer = io.BytesIO()
    if pixels.ndim == 3 and metadata.layout:
        pixels = np.moveaxis(pixels, 2, 0)
    np.save(buffer, np.ascontiguousarray(pixels), allow_pickle=False)
    return buffer.getvalue()


def _tiff_of_array(pixels: np.ndarray, metadata: Metadata) -> bytes:
    """Channels as samples of one page; as pages where the measurement's file has them so."""
    from tifffile import imwrite  # few files are arrays

    height, width = pixels.shape[:2]
    options: dict = {"planarconfig": "contig"} if pixels.ndim == 3 else {}
    if pixels.ndim == 3 and metadata.layout == "pages":
        pixels, options = np.moveaxis(pixels, 2, 0), {}
    if resolution := metadata.resolution(width, height):
        options |= {"resolution": resolution, "resolutionunit": "INCH"}
    buffer = io.BytesIO()
    imwrite(
        buffer,
        np.ascontiguousarray(pixels),
        photometric="minisblack",
        compression="zlib",
        predictor=True,
        metadata=None,
        software=SOFTWARE,
        **options,
    )
    return buffer.getvalue()


def _png(
    samples: np.ndarray, profile: bytes | None, exif: bytes, dpi: tuple[float, float] | None
) -> bytes:
    data = bytes(imagecodecs.png_encode(samples))
    chunks = b""
    if profile:
        chunks += _chunk(b"iCCP", b"sRGB\0\0" + zlib.compress(profile))
    if dpi:
        per_metre = [round(value / 0.0254) for value in dpi]
        chunks += _chunk(b"pHYs", struct.pack(">IIB", *per_metre, 1))
    if exif:
        chunks += _chunk(b"eXIf", exif)
    return data[:PNG_HEADER_BYTES] + chunks + data[PNG_HEADER_BYTES:]


def _chunk(name: bytes, content: bytes) -> bytes:
    body = name + content
    return struct.pack(">I", len(content)) + body + struct.pack(">I", zlib.crc32(body))


def _tiff(samples: np.ndarray, alpha: bool, profile: bytes | None, tags: Tags) -> bytes:
    """One deflated strip of differences along the rows; Pillow writes no colours of 16 bits."""
    height, width, channels = samples.shape
    differences = samples.astype(samples.dtype.newbyteorder("<"))
    differences[:, 1:] -= samples[:, :-1]
    strip = zlib.compress(differences.data)
    values = {
        256: width,
        257: height,
        258: (samples.itemsize * 8,) * channels,
        259: DEFLATE,
        262: 2 if channels >= 3 else 1,  # RGB; 0 is black
        273: 0,  # the strip
        277: channels,
        278: height,
        279: len(strip),
        284: 1,
        317: PREDICTOR,
        338: UNASSOCIATED if alpha else None,
        PROFILE: profile,
    }
    for tag, value in values.items():
        if value is not None:
            tags[MAIN][tag] = value
    return write_tags(tags, strip)


def _by_pillow(
    samples: np.ndarray,
    how: PictureFile,
    profile: bytes | None,
    exif: bytes,
    dpi: tuple[float, float] | None,
) -> bytes:
    options: dict = {"icc_profile": profile, "exif": exif and PREFIX + exif}
    if how.format == "jpeg":
        # 4:4:4: what was restored of colours is not thinned out again.
        options |= {"quality": how.quality, "subsampling": 0}
        if dpi:
            options["dpi"] = [round(value) for value in dpi]
    else:
        if samples.shape[2] <= 2:
            samples = np.concatenate([samples[..., :1]] * 3 + [samples[..., 1:]], axis=2)
        # exact: colours are kept where they are transparent too.
        options |= {"lossless": how.quality is None, "exact": True}
        if how.quality:
            options["quality"] = how.quality
    picture = Image.fromarray(samples[..., 0] if samples.shape[2] == 1 else samples)
    buffer = io.BytesIO()
    picture.save(buffer, how.format, **options)
    return buffer.getvalue()
