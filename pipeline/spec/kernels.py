"""Blur kernels, as jobs name them."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import Field, model_validator

from pipeline.spec.base import Location, Spec, exactly_one

Std = Annotated[float, Field(gt=0, le=1024)]
KernelSize = Annotated[int, Field(ge=1, le=1024)]


class Gaussian(Spec):
    """A Gaussian blur; ``std`` in pixels, or [low, high] to draw it for each image."""

    size: KernelSize = 61
    std: Std | tuple[Std, Std] = 3.0

    @model_validator(mode="after")
    def _ordered(self):
        if isinstance(self.std, tuple) and self.std[0] > self.std[1]:
            raise ValueError("std: [low, high] must have low <= high")
        return self


class Motion(Spec):
    """A random camera shake, drawn for each image; ``intensity`` from 0 (straight) to 1."""

    size: Annotated[int, Field(ge=3, le=1024)] = 61
    intensity: Annotated[float, Field(ge=0, le=1)] = 0.5


class KernelFile(Spec):
    """A kernel in a file (``.npy``, ``.npz``, image), by path or URI.

    ``name`` picks one array of an ``.npz``; without it, benchmarks draw one for each image.
    """

    file: Location
    name: str | None = None


class Kernel(Spec):
    """Exactly one of the three."""

    gaussian: Gaussian | None = None
    motion: Motion | None = None
    file: KernelFile | None = None

    @model_validator(mode="before")
    @classmethod
    def _from_path(cls, value: Any) -> Any:
        """``kernel: k.npy`` and ``kernel: {file: k.npz, name: k3}`` are short for a file."""
        if isinstance(value, str):
            return {"file": {"file": value}}
        if isinstance(value, dict) and isinstance(value.get("file"), str):
            return {"file": value}
        return value

    @model_validator(mode="after")
    def _one(self):
        exactly_one(self, "a kernel")
        return self
