"""The files that restored pictures are written to."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Literal, get_args

from pydantic import Field, model_validator

from pipeline.spec.base import Spec

Format = Literal["png", "webp", "jpeg", "tiff", "npy"]
JPEG_QUALITY = 95


class PictureFile(Spec):
    """How a restored picture is written; ``picture: webp`` is short for its format alone.

    Attributes:
        format: of the file. JPEG drops transparency, and so do npy (NumPy's arrays) and
            floating-point numbers; WebP holds grey as colour. Other channels than those of pictures
            go into tiff and npy.
        quality: of jpeg, and of webp, which is lossless without one.
        bits: of each sample, 32 for floating-point numbers; the picture is rounded, and scored, so.
        range: of scenes that are brighter than white, as ``declip`` finds them: ``display``
            compresses what is above 0.8 so that it ends at white; ``scene`` divides all values by
            the highest possible one, which the column ``ceiling`` tells.
    """

    short_form: ClassVar[Mapping[str, Any] | None] = {"enum": list(get_args(Format))}
    format: Format = "png"
    quality: Annotated[int, Field(ge=1, le=100)] | None = None
    bits: Literal[8, 16, 32] = 8
    range: Literal["display", "scene"] = "display"

    @model_validator(mode="before")
    @classmethod
    def _from_format(cls, value: Any) -> Any:
        value = {"format": value} if isinstance(value, str) else value
        if isinstance(value, dict) and value.get("format") == "jpeg":
            given = {k: v for k, v in value.items() if v is not None}
            return {"quality": JPEG_QUALITY, **given}
        return value

    @model_validator(mode="after")
    def _fitting(self):
        if self.quality is not None and self.format not in ("jpeg", "webp"):
            raise ValueError(f"quality: {self.format} is lossless, it belongs to jpeg and webp")
        if self.bits == 16 and self.format in ("jpeg", "webp"):
            raise ValueError(f"bits: {self.format} has 8 bits, 16 belong to png, tiff and npy")
        if self.range == "scene" and self.bits == 8:
            raise ValueError("range: scene takes bits: 16 or 32: of 8, what is dark has few levels")
        if self.bits == 32 and not self.holds_arrays:
            raise ValueError(
                f"bits: {self.format} has no floating-point numbers (32), which belong to tiff and "
                "npy"
            )
        return self

    @property
    def holds_arrays(self) -> bool:
        """Whether images of any number of channels, and of any numbers, can be written so."""
        return self.format in ("tiff", "npy")
