"""Noise that is not the same everywhere: what jobs and rows say of it, and its model."""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal

import numpy as np
from pydantic import BeforeValidator, Field, ValidationError, model_validator

from manifests import storage
from manifests.errors import StorageError
from manifests.schema import is_parametric
from pipeline.errors import PipelineError, RowError
from pipeline.fence.decoders import decode_noise_map
from pipeline.spec.base import Location, Spec, parse_text
from pipeline.tasks.assets import AssetFile

if TYPE_CHECKING:
    from torch import Tensor

    from diffpir.noise_model import NoiseModel

EXAMPLE = "noise such as {gaussian: 0.01, poisson: 0.004}"


def _level(value: Any) -> Any:
    """A number, three of them, or ``auto``."""
    if value is None or value == "auto":
        return value
    values = value if isinstance(value, list | tuple) else [value]
    try:
        good = all(0 <= float(v) <= 1 and not isinstance(v, bool) for v in values)
    except (TypeError, ValueError):
        good = False
    if not good or (isinstance(value, list | tuple) and len(value) != 3):
        raise ValueError("must be a number from 0 to 1, one for each of three channels, or auto")
    return tuple(map(float, value)) if isinstance(value, list | tuple) else float(value)


Level = float | tuple[float, float, float]  # of all channels, or of each
Levels = Annotated[Level | Literal["auto"] | None, BeforeValidator(_level)]


class Noise(Spec):
    """Noise with the variance ``gaussian^2 + poisson x``, x the clean value on [0, 1]; or a map.

    Attributes:
        gaussian: the standard deviation of what does not depend on light; of all channels, or of
            each; ``auto`` (for both) estimates the two from each image.
        poisson: the variance at white of what does: 1 over the photons that make white.
        map: a file (``.npy``, ``.npz``, ``.mat``) of standard deviations, of the measurement's
            size.
    """

    short_form: ClassVar[Mapping[str, Any] | None] = {"type": "string", "pattern": r"^\s*\{"}
    gaussian: Levels = None
    poisson: Levels = None
    map: Location | None = None

    @model_validator(mode="before")
    @classmethod
    def _from_text(cls, value: Any) -> Any:
        """Text that begins with ``{`` is what YAML makes of it, for an option or a manifest."""
        if isinstance(value, str) and is_parametric(value):
            return parse_text(value, EXAMPLE)
        if not isinstance(value, dict | cls):
            raise ValueError(f"expected {EXAMPLE}; one number for all is noise_level")
        return value

    @model_validator(mode="after")
    def _one_way(self):
        levels = [level for level in (self.gaussian, self.poisson) if level is not None]
        if bool(levels) == (self.map is not None):
            raise ValueError("expected gaussian, poisson or both, or else a map")
        if "auto" in levels and levels != ["auto", "auto"]:
            raise ValueError("auto is for gaussian and poisson together: both are estimated")
        if levels and not np.any([np.any(level != 0) for level in map(_plain, levels)]):
            raise ValueError("gaussian and poisson are 0; without noise say noise_level: 0")
        return self

    @property
    def levels(self) -> tuple[Level, Level]:
        """``gaussian`` and ``poisson`` where neither is to be estimated."""
        gaussian, poisson = self.gaussian or 0.0, self.poisson or 0.0
        assert gaussian != "auto" and poisson != "auto"
        return gaussian, poisson

    @property
    def is_estimated(self) -> bool:
        """Whether it is to be told from each image."""
        return self.gaussian == "auto"


NoiseField = Annotated[
    Noise | None, Field(examples=["{gaussian: 0.01, poisson: 0.004} or {map: std.npy}"])
]


def _plain(level: Any) -> np.ndarray:
    return np.asarray(1.0 if level == "auto" else level)


def row_noise(text: str) -> Noise:
    """The noise that a manifest's row writes out.

    Raises:
        RowError: ``bad_value``: it is none; names the field. A row names a map in its own column.
    """
    try:
        noise = Noise.model_validate(text)
    except ValidationError as e:
        fault = e.errors(include_url=False)[0]
        field = "".join(f"{part}: " for part in fault["loc"][:1])
        message = fault["msg"].removeprefix("Value error, ")
        message = "unknown field" if fault["type"] == "extra_forbidden" else message
        raise RowError(f"{field}{message}", "bad_value") from None
    if noise.map:
        raise RowError("a row names a map in the column noise_map", "bad_value")
    return noise


def text_fault(text: str) -> str | None:
    """What is wrong with the noise that a row writes out, in words; None where nothing is."""
    try:
        row_noise(text)
    except RowError as e:
        return str(e)
    return None


def noise_map_file(noise: Noise | None) -> Iterator[AssetFile]:
    """The file that a job's noise names, if it names one.

    Raises:
        PipelineError: the file cannot be read, or is no map.
    """
    if noise is None or noise.map is None:
        return
    try:
        data = storage.read_bytes(noise.map)
        yield AssetFile("noise_map", (decode_noise_map(data),), data)
    except StorageError as e:
        raise PipelineError(f"task.noise.map: {e}") from None
    except RowError as e:
        raise PipelineError(f"task.noise.map: {storage.shown(noise.map)}: {e}") from None


def model_of_map(levels: np.ndarray, y: Tensor) -> NoiseModel:
    """The model of a map (h, w) of standard deviations.

    Raises:
        RowError: ``size_mismatch``: it is not of y's size.
    """
    import torch

    from diffpir.noise_model import NoiseModel

    if levels.shape != y.shape[2:]:
        raise RowError(
            f"the noise map is {levels.shape[1]} x {levels.shape[0]} pixels, expected "
            f"{y.shape[3]} x {y.shape[2]}",
            "size_mismatch",
        )
    return NoiseModel(torch.from_numpy(levels.astype(np.float32))[None, None])


def shape_of(noise: float | NoiseModel) -> tuple[int, ...] | None:
    """Images share a batch if they agree in it: None for one level, else the model's own shape."""
    if isinstance(noise, float):
        return None
    shapes = (tuple(getattr(level, "shape", ())) for level in (noise.gaussian, noise.poisson))
    return (noise.counts, *itertools.chain(*shapes))


def told(noise: float | NoiseModel) -> str | None:
    """A model as the column ``noise`` of the results has it; None for one level, or a map."""
    if isinstance(noise, float):
        return None
    levels = {"gaussian": noise.gaussian, "poisson": noise.poisson}
    if any(max(getattr(level, "shape", (1,))[-2:]) > 1 for level in levels.values()):
        return None
    plain = {name: np.round(np.ravel(level), 7).tolist() for name, level in levels.items()}
    return json.dumps({k: v[0] if len(v) == 1 else v for k, v in plain.items()})
