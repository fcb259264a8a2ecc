"""JPEG files of all kinds for tests, and what libjpeg itself makes of their coefficients."""

from __future__ import annotations

import contextlib
import io
import struct
import tempfile
from collections.abc import Iterator
from pathlib import Path

import jpeglib
import numpy as np
from PIL import Image
from scipy.fft import dctn, idctn

from pipeline.pictures.jpeg import Jpeg

TURBO = "turbo210"


@contextlib.contextmanager
def file_of(data: bytes = b"") -> Iterator[Path]:
    """The library's public functions want paths."""
    with tempfile.NamedTemporaryFile(suffix=".jpg") as file:
        file.write(data)
        file.flush()
        yield Path(file.name)


def saved(picture: Image.Image, kind: str = "JPEG", **options) -> bytes:
    buffer = io.BytesIO()
    picture.save(buffer, kind, **options)
    return buffer.getvalue()


def encoded(pixels: np.ndarray, factors, *, quality=80, version=TURBO, flags=(), **values) -> bytes:
    """A file of any sampling factors, by any version of libjpeg; ``values`` as jpeglib's."""
    with jpeglib.version(version), file_of() as path:
        picture = jpeglib.from_spatial(pixels if pixels.ndim == 3 else pixels[..., None])
        picture.samp_factor = factors
        for name, value in values.items():
            setattr(picture, name, value)
        picture.write_spatial(str(path), qt=quality, flags=list(flags))
        return path.read_bytes()


def rewritten(data: bytes, flags) -> bytes:
    """The same coefficients in a file of another kind, such as one with arithmetic coding."""
    with jpeglib.version(TURBO), file_of(data) as path:
        picture = jpeglib.read_dct(path)
        picture.load()
        picture.write_dct(str(path), flags=list(flags))
        return path.read_bytes()


def written(jpeg: Jpeg) -> bytes:
    """A file of these coefficients, by jpeglib."""
    with jpeglib.version(TURBO), file_of() as path:
        planes = [np.ascontiguousarray(c) for c in jpeg.coefficients]
        tables = np.stack(jpeg.tables).astype(np.uint16)
        picture = jpeglib.from_dct(*planes, qt=tables, quant_tbl_no=list(range(len(planes))))
        picture.height, picture.width = jpeg.size
        picture.samp_factor = np.array(jpeg.sampling)
        picture.write_dct(str(path))
        return path.read_bytes()


def plain(data: bytes, space=None) -> np.ndarray:
    """What libjpeg decodes without smoothing colours as it enlarges them."""
    flags = ["-DO_FANCY_UPSAMPLING", "-DO_BLOCK_SMOOTHING"]
    with jpeglib.version(TURBO), file_of(data) as path:
        picture = jpeglib.read_spatial(path, out_color_space=space, flags=flags)
        return picture.spatial[..., 0] if picture.spatial.shape[-1] == 1 else picture.spatial


def planes(jpeg: Jpeg) -> list[np.ndarray]:
    """The components in float64, from -128 to 127, each as large as the blocks that it has."""
    found = []
    for coefficients, table in zip(jpeg.coefficients, jpeg.tables, strict=True):
        blocks = idctn(coefficients * table.astype(np.float64), axes=(2, 3), norm="ortho")
        rows, columns = blocks.shape[:2]
        found.append(blocks.transpose(0, 2, 1, 3).reshape(rows * 8, columns * 8))
    return found


def enlarged(jpeg: Jpeg) -> np.ndarray:
    """(H, W, components), each sample repeated as often as the sampling says, from 0 to 255."""
    height, width = jpeg.size
    most = np.max(jpeg.sampling, axis=0)
    full = []
    for plane, factors in zip(planes(jpeg), jpeg.sampling, strict=True):
        down, across = most // factors
        plane = np.clip(plane + 128, 0, 255)
        full.append(plane.repeat(down, axis=0).repeat(across, axis=1)[:height, :width])
    return np.stack(full, axis=-1)


def to_rgb(components: np.ndarray) -> np.ndarray:
    y, cb, cr = np.moveaxis(components - (0, 128, 128), -1, 0)
    rgb = (y + 1.402 * cr, y - 0.344136 * cb - 0.714136 * cr, y + 1.772 * cb)
    return np.clip(np.stack(rgb, axis=-1), 0, 255)


def to_ycbcr(rgb: np.ndarray) -> np.ndarray:
    """Whole numbers, as encoders take them."""
    r, g, b = np.moveaxis(rgb.astype(np.float64), -1, 0)
    y = 0.299 * r + 0.587 * g + 0.114 * b
    return np.round(np.stack((y, 128 + (b - y) / 1.772, 128 + (r - y) / 1.402), axis=-1))


def quantised(plane: np.ndarray, table: np.ndarray) -> np.ndarray:
    """Coefficients over table, not rounded, of a plane whose sides are multiples of 8."""
    rows, columns = plane.shape[0] // 8, plane.shape[1] // 8
    blocks = plane.reshape(rows, 8, columns, 8).transpose(0, 2, 1, 3)
    return dctn(blocks, axes=(2, 3), norm="ortho") / table


def segments(data: bytes) -> list[tuple[int, int, int]]:
    """Marker, start and end of each segment before the first scan's data."""
    found, start = [], 2
    while not found or found[-1][0] != 0xDA:
        end = start + 2 + int.from_bytes(data[start + 2 : start + 4], "big")
        found.append((data[start + 1], start, end))
        start = end
    return found


def without(data: bytes, marker: int) -> bytes:
    """The file without its segments of one kind."""
    for code, start, end in reversed(segments(data)):
        if code == marker:
            data = data[:start] + data[end:]
    return data


def segment(marker: int, content: bytes) -> bytes:
    return struct.pack(">BBH", 255, marker, len(content) + 2) + content


def with_segment(data: bytes, marker: int, content: bytes) -> bytes:
    return data[:2] + segment(marker, content) + data[2:]
