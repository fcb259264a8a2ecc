"""Real photographs and odd files for tests, from scikit-image and Pillow."""

from __future__ import annotations

import contextlib
import io
import os
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from PIL import Image
from skimage import data

from pipeline.fence import decoders


def photograph(width: int = 48, height: int = 40, name: str = "astronaut") -> Image.Image:
    return Image.fromarray(getattr(data, name)()).resize((width, height), Image.Resampling.LANCZOS)


def save_kinds(folder: Path) -> dict[str, Path]:
    """One file of each kind that cameras, scanners and programs make, by name."""
    folder.mkdir(parents=True, exist_ok=True)
    rgb = photograph()
    grey = rgb.convert("L")
    sixteen = Image.fromarray(np.asarray(grey).astype(np.uint16) * 257)
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned by 90 degrees
    kinds = {
        "rgb.png": (rgb, {}),
        "jpeg.jpg": (rgb, {"quality": 95}),
        "grey.png": (grey, {}),
        "palette.gif": (rgb.convert("P"), {}),
        "bilevel.png": (rgb.convert("1"), {}),
        "sixteen.png": (sixteen, {}),
        "sixteen.tif": (sixteen, {}),
        "float.tif": (Image.fromarray(np.asarray(grey, np.float32) / 255), {}),
        "cmyk.jpg": (rgb.convert("CMYK"), {}),
        "alpha.png": (rgb.convert("RGBA"), {}),
        "turned.jpg": (rgb, {"exif": exif, "quality": 95}),
        "webp.webp": (rgb, {"lossless": True}),
    }
    for name, (picture, options) in kinds.items():
        picture.save(folder / name, **options)
    return {name: folder / name for name in kinds}


def save_broken(folder: Path) -> dict[str, Path]:
    """Files that are no images, each in its own way."""
    folder.mkdir(parents=True, exist_ok=True)
    buffer = io.BytesIO()
    photograph().save(buffer, "PNG")
    whole = buffer.getvalue()
    frames = io.BytesIO()
    photograph().save(frames, "GIF", save_all=True, append_images=[photograph(name="coffee")])
    contents = {
        "empty.png": b"",
        "text.png": b"this is not a picture",
        "truncated.png": whole[: len(whole) // 2],
        "damaged.png": whole[:200] + bytes(40) + whole[240:],
        "animated.gif": frames.getvalue(),
    }
    for name, content in contents.items():
        (folder / name).write_bytes(content)
    return {name: folder / name for name in contents}


def decoded(data: bytes) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(data)))


@contextlib.contextmanager
def decoding_takes(megabytes: int, seconds: float = 5) -> Iterator[None]:
    """What is decoded in this block takes less memory, beside a child process's own, and time."""
    decoders._fence.stop()
    buffer = io.BytesIO()
    photograph().save(buffer, "PNG")
    decoders.decode_image(buffer.getvalue())
    child = decoders._fence._process.pid
    before, began = _usage(child)
    yield
    after, ended = _usage(child)  # None: it ran into its limit
    assert after is None or after - before < megabytes * 2**20
    assert ended is None or ended - began < seconds


def _usage(process: int) -> tuple[int | None, float | None]:
    """Peak of resident memory in bytes, and CPU time in seconds."""
    try:
        lines = Path(f"/proc/{process}/status").read_text().splitlines()
        peak = next(int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM"))
        times = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[11:13]
    except (FileNotFoundError, StopIteration):
        return None, None
    return peak, sum(map(int, times)) / os.sysconf("SC_CLK_TCK")
