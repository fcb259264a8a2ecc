"""Masks: which pixels of an image were measured."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Annotated, Any, ClassVar

import numpy as np
from pydantic import BeforeValidator, Field, model_validator

from diffpir.masks import box_mask, grown, random_mask
from manifests import storage
from manifests.errors import StorageError
from manifests.schema import is_parametric
from pipeline.errors import PipelineError, RowError
from pipeline.fence.decoders import decode_mask
from pipeline.pictures.pixel_mask import Channels, PixelMask
from pipeline.spec.base import TEXT, Location, Spec, exactly_one, parse_text
from pipeline.tasks.assets import AssetFile
from pipeline.tasks.parts import Arrays, Mode, stacked

if TYPE_CHECKING:
    from torch import Tensor

    from pipeline.tasks.row import Row


MAX_GROWTH = 1000  # pixels
HALF = 0.5  # of the opacity: what is less opaque is hidden, unless the job says otherwise
MADE = ("random", "box")  # of benchmarks
FROM_PIXELS = ("alpha", "values", "colour")
EXAMPLES = "m.png, alpha, values:0,255, colour:#ff00ff or {box: 128}"


def _opacity(value: Any) -> Any:
    """``alpha: true`` is short for the half."""
    if value is False:
        raise ValueError("must be true, or the opacity (above 0, to 1) below which pixels hide")
    return HALF if value is True else value


class Mask(Spec):
    """What is hidden: exactly one of a share, a square, a file, or what the pixels themselves tell.

    Attributes:
        random: the hidden share.
        box: side in pixels of one hidden square.
        file: light is known, dark is hidden.
        alpha: hides pixels whose opacity, 0 to 1, is below it; ``true`` is the half.
        values, colour, tolerance, channels, areas: of :class:`PixelMask`; the colour is written
            ``"#rrggbb"``.
        grow: what is hidden, by so many pixels to all sides.
    """

    short_form: ClassVar[Mapping[str, Any] | None] = TEXT
    random: Annotated[float, Field(ge=0, le=1)] | None = None
    box: Annotated[int, Field(ge=1)] | None = None
    file: Location | None = None
    alpha: Annotated[float, Field(gt=0, le=1), BeforeValidator(_opacity)] | None = None
    values: (
        Annotated[
            tuple[Annotated[float, Field(ge=0, le=65535)], ...],
            Field(min_length=1, max_length=256, examples=["[0, 255]"]),
        ]
        | None
    ) = None
    colour: (
        Annotated[str, Field(pattern="^#[0-9a-fA-F]{6}$", examples=['"#ff00ff", in quotes'])] | None
    ) = None
    tolerance: Annotated[float, Field(ge=0, le=65535)] = 0.0
    channels: Channels = "all"
    areas: bool = False
    grow: Annotated[int, Field(ge=0, le=MAX_GROWTH)] = 0

    @model_validator(mode="before")
    @classmethod
    def _from_text(cls, value: Any) -> Any:
        return mask_fields(value) if isinstance(value, str) else value

    @model_validator(mode="after")
    def _consistent(self):
        exactly_one(self, "a mask", ("tolerance", "channels", "areas", "grow"))
        usual = type(self).model_fields
        for name, sources in (
            ("tolerance", ("values", "colour")),
            ("channels", ("values",)),
            ("areas", ("values",)),
        ):
            given = any(getattr(self, source) is not None for source in sources)
            if getattr(self, name) != usual[name].default and not given:
                raise ValueError(f"{name} goes with {' or '.join(sources)}")
        return self

    @property
    def is_made(self) -> bool:
        return any(getattr(self, name) is not None for name in MADE)

    @property
    def pixel_mask(self) -> PixelMask | None:
        """What tells the hidden pixels of a picture; None if it is not the picture itself."""
        if all(getattr(self, name) is None for name in FROM_PIXELS):
            return None
        code = self.colour and bytes.fromhex(self.colour[1:])
        return PixelMask(
            self.alpha,
            self.values,
            (code[0], code[1], code[2]) if code else None,
            self.tolerance,
            self.channels,
            self.areas,
        )


MaskField = Annotated[Mask | None, Field(examples=[EXAMPLES])]


def mask_fields(text: str) -> dict[str, Any]:
    """The fields that a mask's short form stands for.

    ``alpha``, ``values:0,255`` and ``colour:#ff00ff`` are of the pixels; what begins with ``{`` is
    an option's YAML, and anything else a file.

    Raises:
        ValueError: values that are no numbers, or what is not YAML.
    """
    if is_parametric(text):
        return parse_text(text, "a mask such as {box: 128}")
    name, colon, told = text.partition(":")
    if text == "alpha":
        return {"alpha": True}
    if colon and name == "values":
        try:
            return {"values": [float(value) for value in told.split(",")]}
        except ValueError:
            raise ValueError("expected numbers, as in values:0,255") from None
    if colon and name in ("colour", "color"):
        return {"colour": told}
    return {"file": text}


def check_mask(mask: Mask | None, mode: Mode) -> None:
    """Raise ValueError for a mask that is of the other mode."""
    if mode == "restore" and mask and mask.is_made:
        raise ValueError(
            "task.mask: a made mask (random, box) belongs to mode benchmark; to restore "
            "images give a mask file, a mask column in the manifest, or what tells the hidden "
            "pixels (alpha, values, colour)"
        )
    if mode == "benchmark" and mask and mask.pixel_mask:
        raise ValueError(
            "task.mask: a mask from the pixels (alpha, values, colour) belongs to mode restore; "
            "a benchmark's images are clean"
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
    """(1 or 3, h, w) float32, 1 where the pixel, or its channel, is known.

    The row's own mask wins, and is not grown; the task's is that of a file, of the picture, or
    drawn.

    Raises:
        RowError: the mask is of another size, or hides everything, or nothing although it is the
            picture's; the picture is too small for the box; or there is no mask.
    """
    height, width = size
    (given,) = row.assets.arrays.get("mask", (None,))
    mask = given if row.files.mask is None else row.files.mask
    if mask is not None:
        if mask.shape[:2] != size:
            raise RowError(
                f"the mask is {mask.shape[1]} x {mask.shape[0]} pixels, "
                f"expected {width} x {height}",
                "size_mismatch",
            )
        mask = mask[None] if mask.ndim == 2 else mask.transpose(2, 0, 1)
    elif choice is None:
        raise RowError("no mask: neither the row nor the task gives one", "missing_input")
    elif choice.random is not None:
        mask = random_mask(height, width, choice.random, row.rng("mask"))
    else:
        assert choice.box is not None  # the one left: the others were found above
        try:
            mask = box_mask(height, width, choice.box, row.rng("mask"))
        except ValueError as e:
            raise RowError(str(e), "size_mismatch") from None
    mask = np.ascontiguousarray(mask, np.float32)
    if choice is None or row.values.get("mask"):
        return mask
    if choice.grow:
        mask = grown(mask, choice.grow)
    if not choice.is_made and not mask.any(axis=(1, 2)).all():
        raise RowError(f"the mask hides every {_whole(mask)}{_told(choice, row)}", "bad_mask")
    return mask


def check_hides(mask: np.ndarray, choice: Mask | None, row: Row) -> None:
    """Raise RowError if the picture itself tells what is hidden, and nothing is."""
    if choice and choice.pixel_mask and not row.values.get("mask") and mask.all():
        raise RowError(f"the mask hides no pixel{_told(choice, row)}", "nothing_hidden")


def hidden_share(mask: np.ndarray) -> float:
    return float(1 - mask.mean(dtype=np.float64))


def _whole(mask: np.ndarray) -> str:
    """What it hides all of: of a mask with three channels, perhaps one of them."""
    names = ("red", "green", "blue")
    gone = [name for name, plane in zip(names, mask, strict=False) if not plane.any()]
    return "pixel" if len(gone) == len(mask) else f"value of {' and '.join(gone)}"


def _told(choice: Mask, row: Row) -> str:
    """What was looked for, and in what."""
    grown = f", grown by {choice.grow} pixels" if choice.grow else ""
    if choice.alpha is not None:
        return f": those less opaque than {choice.alpha:g} of 1{grown}"
    image = row.files.image
    seen = (
        f"; the picture's values are {image.min()} to {image.max()} of {np.iinfo(image.dtype).max}"
    )
    near = f" (to within {choice.tolerance:g})" if choice.tolerance else ""
    if choice.colour:
        return f": those of the colour {choice.colour}{near}{grown}{seen}"
    if choice.values:
        values = ", ".join(f"{value:g}" for value in choice.values)
        areas = "" if choice.areas else ", but not where they fill 3 x 3 pixels (areas: true)"
        return f": those of value {values}{near}{areas}{grown}{seen}"
    return grown


def known_part(row: Row, arrays: Arrays) -> tuple[Tensor, bool]:
    """The row's image with zeros where its mask hides it, and whether the rest is grey.

    A mark in colours does not make a grey picture one of colours.
    """
    if "mask" not in arrays:
        return row.image, row.grey
    known = row.image * stacked([arrays], "mask")
    return known, row.grey or bool((known == known[:, :1]).all())


def filled(y: Tensor, arrays: Sequence[Arrays]) -> Tensor:
    """Measurements with what their masks hide filled from the neighbours."""
    from diffpir.metrics import fill_hidden

    return fill_hidden(y, stacked(arrays, "mask", y.device)) if "mask" in arrays[0] else y
