"""What was, or is to be, done to the images."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, model_validator

from manifests.schema import is_parametric
from pipeline.spec.base import Location, Spec, exactly_one, parse_text
from pipeline.spec.kernels import Kernel


def _noise_level(value: Any) -> Any:
    try:
        good = value is None or value == "auto" or 0 <= float(value) <= 1
    except (TypeError, ValueError):
        good = False
    if not good or isinstance(value, bool):
        raise ValueError("must be a finite number from 0 to 1, or auto")
    return value


# ``auto`` is what can be told from each measurement itself (:mod:`diffpir.noise`).
NoiseLevel = Annotated[float | Literal["auto"], BeforeValidator(_noise_level)]


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


class Blurred(Spec):
    """What tasks with a kernel have.

    ``boundary`` says what the blur took for the scene beyond the frame: ``circular`` its other
    side, ``reflect`` its mirror image, ``unknown`` what was really there, as a camera does. None:
    unknown to restore images, circular (the paper's) for benchmarks.
    """

    kernel: Kernel | None = None
    boundary: Literal["circular", "reflect", "unknown"] | None = None
    noise_level: NoiseLevel | None = None


class Deblur(Blurred):
    """With a mask, what it hides of the blurred image was not measured."""

    kind: Literal["deblur"]
    mask: Mask | None = None


class SuperResolve(Blurred):
    """Without a kernel, the reduction was (is) MATLAB's antialiased bicubic one."""

    kind: Literal["sr"]
    factor: Annotated[int, Field(ge=2, le=16)]


class DenoiseTask(Spec):
    kind: Literal["denoise"]
    noise_level: NoiseLevel | None = None


class InpaintTask(Spec):
    kind: Literal["inpaint"]
    mask: Mask | None = None
    noise_level: NoiseLevel | None = 0.0


class Colorize(Spec):
    """Give colour to grey pictures; of a colour picture, only its luma is looked at."""

    kind: Literal["colorize"]
    noise_level: NoiseLevel | None = 0.0


class Demosaic(Spec):
    """Grey pictures are what a sensor with a Bayer filter saw, ``pattern`` its first 2 x 2."""

    kind: Literal["demosaic"]
    pattern: Literal["rggb", "bggr", "grbg", "gbrg"] = "rggb"
    noise_level: NoiseLevel | None = None


class LinearTask(Spec):
    """A linear operator of the user's own, ``module:factory``; ``options`` go to the factory.

    It returns an object with ``forward`` and ``adjoint``
    (:class:`diffpir.operators.linear.Linear`), for images of any size.
    """

    kind: Literal["linear"]
    operator: Annotated[str, Field(pattern=r"^[A-Za-z_][\w.]*:[A-Za-z_]\w*$")]
    options: dict[str, Any] = Field(default_factory=dict)
    noise_level: NoiseLevel | None = None


Task = Annotated[
    Deblur | SuperResolve | DenoiseTask | InpaintTask | Colorize | Demosaic | LinearTask,
    Field(discriminator="kind"),
]
