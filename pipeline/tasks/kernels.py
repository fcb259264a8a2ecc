"""Blur kernels, as jobs and the rows of manifests name them."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Literal

from pydantic import ConfigDict, Discriminator, Field, Tag, ValidationError, model_validator

from manifests.schema import is_parametric
from pipeline.errors import RowError
from pipeline.spec.base import TEXT, Location, Spec, exactly_one, parse_text

Std = Annotated[float, Field(gt=0, le=1024)]
KernelSize = Annotated[int, Field(ge=1, le=1024)]
EXAMPLE = "a kernel such as {gaussian: {std: 3}}"
ESTIMATE_RULE = "estimate belongs to mode restore, task deblur without a mask"
PAPER_SIZE, LARGEST = 61, 1023  # of a Gaussian; odd, so that its middle is a pixel


class Gaussian(Spec):
    """A Gaussian blur; ``std`` in pixels, or [low, high] to draw it for each image.

    Without a ``size`` it is the authors' 61, or what 4 standard deviations to each side need.
    """

    # Whoever writes a job need not give the size, which is then made from ``std``.
    model_config = ConfigDict(json_schema_extra=lambda schema: schema.pop("required"))

    size: KernelSize
    std: Std | tuple[Std, Std] = 3.0

    @model_validator(mode="before")
    @classmethod
    def _large_enough(cls, value: Any) -> Any:
        if not isinstance(value, dict) or "size" in value:
            return value
        std = value.get("std", 0)
        stds = [s for s in (std if isinstance(std, list | tuple) else [std]) if _is_number(s)]
        reach = math.ceil(4 * min(max(stds, default=0), LARGEST))
        return {**value, "size": min(max(PAPER_SIZE, 2 * reach + 1), LARGEST)}

    @model_validator(mode="after")
    def _ordered(self):
        if isinstance(self.std, tuple) and self.std[0] > self.std[1]:
            raise ValueError("std: [low, high] must have low <= high")
        return self


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and value > 0


class Shake(Spec):
    """A random camera shake, drawn for each image; ``intensity`` from 0 (straight) to 1."""

    size: Annotated[int, Field(ge=3, le=1024)] = 61
    intensity: Annotated[float, Field(ge=0, le=1)] = 0.5


class Stroke(Spec):
    """A straight motion: ``length`` in pixels, ``angle`` in degrees counter-clockwise."""

    length: Annotated[float, Field(gt=0, le=1000)]
    angle: Annotated[float, Field(ge=-360, le=360)]


class Disk(Spec):
    """A lens out of focus; ``radius`` in pixels."""

    radius: Annotated[float, Field(gt=0, le=256)]


class KernelFile(Spec):
    """A kernel in a file (``.npy``, ``.npz``, ``.mat``, image), by path or URI.

    ``name`` picks one array of several; without it, benchmarks draw one for each image.
    """

    file: Location
    name: str | None = None


def _motion(value: Any) -> str:
    """A shake and a stroke are told apart by their fields."""
    known = value if isinstance(value, dict) else getattr(value, "model_fields_set", ())
    return "stroke" if isinstance(value, Stroke) or {"length", "angle"} & set(known) else "shake"


Motion = Annotated[
    Annotated[Shake, Tag("shake")] | Annotated[Stroke, Tag("stroke")], Discriminator(_motion)
]


class Kernel(Spec):
    """Exactly one of them.

    Attributes:
        levin: 1 to 8, of the kernels that Levin et al. (2009) measured, in the file that
            ``$DIFFPIR_LEVIN`` names.
        estimate: experimental: a Gaussian or a disk, as wide as the blurred image itself tells
            (:mod:`diffpir.blind`).
    """

    short_form: ClassVar[Mapping[str, Any] | None] = {
        "anyOf": [TEXT, KernelFile.model_json_schema()]
    }
    gaussian: Annotated[Gaussian | None, Field(examples=["{std: 3}"])] = None
    motion: Annotated[Motion | None, Field(examples=["{length: 25, angle: 30}"])] = None
    disk: Annotated[Disk | None, Field(examples=["{radius: 4}"])] = None
    levin: Annotated[int, Field(ge=1, le=8)] | None = None
    file: Annotated[KernelFile | None, Field(examples=["{file: k.npz, name: k3}"])] = None
    estimate: Literal["gaussian", "disk"] | None = None

    @model_validator(mode="before")
    @classmethod
    def _from_text(cls, value: Any) -> Any:
        """``kernel: k.npy`` and ``kernel: {file: k.npz, name: k3}`` are short for a file.

        Text that begins with ``{`` is what YAML makes of it, for a command's option.
        """
        if isinstance(value, str) and is_parametric(value):
            value = parse_text(value, EXAMPLE)
        if isinstance(value, str):
            return {"file": {"file": value}}
        if isinstance(value, dict) and isinstance(value.get("file"), str):
            return {"file": value}
        return value

    @model_validator(mode="after")
    def _one(self):
        exactly_one(self, "a kernel")
        return self

    @property
    def is_random(self) -> bool:
        """Whether it is drawn for each image."""
        drawn = self.gaussian is not None and isinstance(self.gaussian.std, tuple)
        return drawn or isinstance(self.motion, Shake)


def row_kernel(text: str) -> Kernel:
    """The kernel that a manifest's row writes out.

    Raises:
        RowError: ``bad_kernel``: not a kernel; names the field. One that is drawn at random, or
            lies in a file, is none that a row can write.
    """
    try:
        kernel = Kernel.model_validate(parse_text(text, EXAMPLE))
    except ValidationError as e:
        fault = e.errors(include_url=False)[0]
        path = [str(part) for part in fault["loc"] if part not in ("shake", "stroke")]
        field = ".".join(part for part in path if "[" not in part and part != "constrained-float")
        message = fault["msg"].removeprefix("Value error, ")
        if fault["type"] == "extra_forbidden":
            message = "unknown field"
        raise RowError(f"{field}: {message}" if field else message, "bad_kernel") from None
    except ValueError as e:
        raise RowError(str(e), "bad_kernel") from None
    if kernel.file:
        raise RowError("file: a row names a kernel file without braces", "bad_kernel")
    if kernel.is_random:
        raise RowError("a random kernel is the job's to give, not a row's", "bad_kernel")
    return kernel


def text_fault(text: str) -> str | None:
    """What is wrong with the kernel that a row writes out, in words; None where nothing is."""
    try:
        row_kernel(text)
    except RowError as e:
        return str(e)
    return None
