"""Masks: which pixels of an image were measured."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Annotated, Any

import numpy as np
from pydantic import Field, model_validator

from diffpir.masks import box_mask, random_mask
from manifests import storage
from manifests.errors import StorageError
from manifests.schema import is_parametric
from pipeline.errors import PipelineError, RowError
from pipeline.fence.decoders import decode_mask
from pipeline.spec.base import Location, Spec, exactly_one, parse_text
from pipeline.tasks.assets import AssetFile
from pipeline.tasks.task import Arrays, Mode, stacked

if TYPE_CHECKING:
    from torch import Tensor

    from pipeline.tasks.row import Row


class Mask(Spec):
    """Exactly one of: the hidden share, a hidden square's side in pixels, a mask file."""

    random: Annotated[float, Field(ge=0, le=1)] | None = None
    box: Annotated[int, Field(ge=1)] | None = None
    file: Location | None = None

    @model_validator(mode="before")
    @classmethod
    def _from_text(cls, value: Any) -> Any:
        """``mask: m.png`` is short for a file; what begins with ``{`` is an option's YAML."""
        if isinstance(value, str) and is_parametric(value):
            return parse_text(value, "a mask such as {box: 128}")
        return {"file": value} if isinstance(value, str) else value

    @model_validator(mode="after")
    def _one(self):
        exactly_one(self, "a mask")
        return self


MaskField = Annotated[Mask | None, Field(examples=["m.png or {box: 128}"])]


def check_mask(mask: Mask | None, mode: Mode) -> None:
    """Raise ValueError for a mask that is made, where images are restored."""
    if mode == "restore" and mask and mask.file is None:
        raise ValueError(
            "task.mask: a made mask (random, box) belongs to mode benchmark; to restore "
            "images give a mask file, or a mask column in the manifest"
        )


def mask_identity(mask: dict | None) -> dict | None:
    """A dumped mask without the place of its file, whose content is what counts."""
    return {**mask, "file": True} if mask and mask["file"] else mask


def mask_file(mask: Mask | None) -> Iterator[AssetFile]:
    """The file that a job's mask names, if it names one.

    Raises:
        PipelineError: the file cannot be read, or is no mask.
    """
    if mask is None or mask.file is None:
        return
    try:
        data = storage.read_bytes(mask.file)
        yield AssetFile("mask", (decode_mask(data),), data)
    except StorageError as e:
        raise PipelineError(f"task.mask: {e}") from None
    except RowError as e:
        raise PipelineError(f"task.mask: {storage.shown(mask.file)}: {e}") from None


def mask_of(choice: Mask | None, row: Row, size: tuple[int, int]) -> np.ndarray:
    """(1, h, w) float32, 1 where the pixel is known.

    The row's own mask wins over the file that the task names, and that file over a mask drawn.

    Raises:
        RowError: the mask is of another size, the picture too small for the box, or there is none.
    """
    height, width = size
    (given,) = row.assets.arrays.get("mask", (None,))
    mask = given if row.files.mask is None else row.files.mask
    if mask is not None:
        if mask.shape != size:
            raise RowError(
                f"the mask is {mask.shape[1]} x {mask.shape[0]} pixels, "
                f"expected {width} x {height}",
                "size_mismatch",
            )
        mask = mask[None]
    elif choice is None:
        raise RowError("no mask: neither the row nor the task gives one", "missing_input")
    elif choice.random is not None:
        mask = random_mask(height, width, choice.random, row.rng("mask"))
    else:
        assert choice.box is not None  # the one left: the mask of a file was found above
        try:
            mask = box_mask(height, width, choice.box, row.rng("mask"))
        except ValueError as e:
            raise RowError(str(e), "size_mismatch") from None
    return np.ascontiguousarray(mask, np.float32)


def known_part(image: Tensor, arrays: Arrays) -> Tensor:
    """The image with zeros where its mask hides it."""
    return image * stacked([arrays], "mask") if "mask" in arrays else image


def filled(y: Tensor, arrays: Sequence[Arrays]) -> Tensor:
    """Measurements with what their masks hide filled from the neighbours."""
    from diffpir.metrics import fill_hidden

    return fill_hidden(y, stacked(arrays, "mask", y.device)) if "mask" in arrays[0] else y
