"""Images, kernels and masks as Python code has them, as the arrays of a row's files."""

from __future__ import annotations

import io
import os
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import torch
from PIL import Image

from manifests import storage
from manifests.errors import StorageError
from pipeline.errors import PipelineError, RowError
from pipeline.fence import decoders
from pipeline.pictures import decode
from pipeline.pictures.jpeg_array import to_array
from pipeline.spec.job import JobSpec
from pipeline.tasks.row import Inputs

# An image: (H, W) or (H, W, C) numbers, a tensor (C, H, W), a PIL image, a path or URI, or the
# bytes of a file.
Given = np.ndarray | torch.Tensor | Image.Image | str | os.PathLike | bytes
ARRAYS = np.ndarray | torch.Tensor | Image.Image
PNG_MODES = ("1", "L", "LA", "I", "I;16", "P", "RGB", "RGBA")  # that a PNG holds as they are
TIFF_MODES = ("CMYK", "F")
# What comes beside the images: one for all of them, or one for each.
BESIDE = ("kernel", "mask", "noise_map", "reference")


def one_by_one(images: Given | Iterable[Given]) -> tuple[list[Given], bool]:
    """The images as a list, and whether they were given as several."""
    if isinstance(images, np.ndarray | torch.Tensor):
        return (list(images), True) if images.ndim == 4 else ([images], False)
    if isinstance(images, Image.Image | str | os.PathLike | bytes):
        return [images], False
    return list(images), True


def beside(settings: dict[str, Any], count: int) -> list[dict[str, Any]]:
    """What arrays go with each image, by name; they are taken out of ``settings``.

    A kernel or a mask that is a text or a dictionary is a setting, as in a job file, and stays.

    Raises:
        PipelineError: there are not as many as images; names the setting.
    """
    rows: list[dict[str, Any]] = [{} for _ in range(count)]
    for name in BESIDE:
        value = settings.get(name)
        many = isinstance(value, Sequence) and not isinstance(value, str | bytes)
        if value is None or not (many or isinstance(value, ARRAYS) or name == "reference"):
            continue
        del settings[name]
        values = list(value) if many else [value] * count
        if len(values) != count:
            raise PipelineError(
                f"{name}: {len(values)} are given, expected one for each of the {count} images, or "
                "one for all"
            )
        for row, one in zip(rows, values, strict=True):
            row[name] = one
    return rows


def name_of(image: Given, place: int) -> str:
    """The image's id, which its random numbers are drawn by: a file's as in a job on its folder."""
    if isinstance(image, str | os.PathLike):
        return os.path.splitext(os.fspath(image).rpartition("/")[2])[0]
    return str(place)


def inputs_of(image: Given, others: dict[str, Any], spec: JobSpec, channels: int) -> Inputs:
    """One image and what goes with it, as the decoded files of a manifest's row.

    Args:
        image: as the user gave it.
        others: of :func:`beside`, for this image.
        spec: of the job.
        channels: that the prior takes.

    Raises:
        RowError: one of them is not what it should be.
    """
    kind: dict[str, Any] = {"channels": channels, "numbers": spec.range is not None}
    limits: dict[str, Any] = {"max_pixels": spec.max_pixels}
    stored = spec.task.reads_stored and spec.mode == "restore"
    pixel_mask = None if "mask" in others else spec.task.pixel_mask
    data, foreign = _file_of(image)
    if stored and not foreign:
        raise RowError(
            f"{spec.task.kind} reads what a JPEG file stores, which decoded pixels do not tell; "
            "expected the file's path, or its bytes",
            "wrong_format",
        )
    how: dict[str, Any] = {"colours": not stored, "mask": pixel_mask}
    picture = _decoded("decode_picture", data, foreign, **how, **kind, **limits)
    arrays: dict[str, Any] = {"image": picture.pixels, "mask": picture.known}
    if stored:
        arrays["stored"] = to_array(decoders.read_jpeg(data, **limits))
    for name, given in others.items():
        try:
            if name == "reference":
                arrays[name] = _decoded("decode_image", *_file_of(given), **kind, **limits)
            else:
                arrays[name] = _decoded(f"decode_{name}", *_file_of(given))
        except RowError as e:
            raise RowError(f"{name}: {e}", e.kind) from None
    return Inputs(**arrays)


def _decoded(decoder: str, data: bytes, foreign: bool, /, **options: Any) -> Any:
    """What a decoder makes of a file; one from outside is decoded in a child process."""
    return getattr(decoders if foreign else decode, decoder)(data, **options)


def _file_of(given: Given) -> tuple[bytes, bool]:
    """As the bytes of a file, and whether they come from outside of this process.

    Arrays are then read, and refused, by the very code that reads the files of jobs.
    """
    if isinstance(given, bytes):
        return given, True
    if isinstance(given, str | os.PathLike):
        try:
            return storage.read_bytes(os.fspath(given)), True
        except StorageError as e:
            raise RowError(str(e), e.kind) from None
    if isinstance(given, Image.Image):
        return _encoded(given), False
    if isinstance(given, torch.Tensor):
        tensor = given.detach().cpu()
        numbers = (tensor.float() if tensor.dtype == torch.bfloat16 else tensor).numpy()
        given = np.moveaxis(numbers, 0, -1) if numbers.ndim == 3 else numbers
    if not isinstance(given, np.ndarray):
        raise RowError(
            f"{type(given).__name__} is no image; expected an array (H, W) or (H, W, C), a tensor "
            "(C, H, W), a PIL image, a path, or the bytes of a file",
            "wrong_format",
        )
    file = io.BytesIO()
    np.save(file, np.ascontiguousarray(given), allow_pickle=False)
    return file.getvalue(), False


def _encoded(image: Image.Image) -> bytes:
    """Without loss, with its orientation and its colour profile."""
    if image.mode not in (*PNG_MODES, *TIFF_MODES):
        image = image.convert("RGBA" if image.has_transparency_data else "RGB")
    file = io.BytesIO()
    exif, profile = image.getexif(), image.info.get("icc_profile")
    options = {"exif": exif.tobytes()} if exif else {}
    kind = "PNG" if image.mode in PNG_MODES else "TIFF"
    image.save(file, kind, icc_profile=profile, compress_level=0, **options)
    return file.getvalue()
