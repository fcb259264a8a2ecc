"""What was, or is to be, done to the images."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, model_validator

from pipeline.spec.base import Location, Spec, exactly_one
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
    def _from_path(cls, value: Any) -> Any:
        return {"file": value} if isinstance(value, str) else value

    @model_validator(mode="after")
    def _one(self):
        exactly_one(self, "a mask")
        return self


class Deblur(Spec):
    kind: Literal["deblur"]
    kernel: Kernel | None = None
    noise_level: NoiseLevel | None = None


class SuperResolve(Spec):
    """Without a kernel, the reduction was (is) MATLAB's antialiased bicubic one."""

    kind: Literal["sr"]
    factor: Annotated[int, Field(ge=2, le=16)]
    kernel: Kernel | None = None
    noise_level: NoiseLevel | None = None


class DenoiseTask(Spec):
    kind: Literal["denoise"]
    noise_level: NoiseLevel | None = None


class InpaintTask(Spec):
    kind: Literal["inpaint"]
    mask: Mask | None = None
    noise_level: NoiseLevel | None = 0.0


Task = Annotated[Deblur | SuperResolve | DenoiseTask | InpaintTask, Field(discriminator="kind")]
