"""Operators of the library deepinv, by name, with options as a job file can write them."""

from __future__ import annotations

import functools
import importlib
import inspect
import json
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from pipeline.errors import PipelineError

if TYPE_CHECKING:
    from diffpir.operators.physics import Physics

LIBRARY = "deepinv"
FILTERS = ("gaussian_blur", "bilinear_filter", "bicubic_filter", "sinc_filter")
SIZE = "img_size"


def physics_of(name: str, options: Mapping[str, Any]) -> Physics:
    """The class ``name`` of ``deepinv.physics`` with these options, as an operator.

    Lists are tuples there; ``{tensor: [[...]]}`` is a tensor, and ``{gaussian_blur: {sigma: 2}}``
    what the library's function of that name makes of its keywords. Where a class takes a size of
    images that the options do not give, it is that of each image: of its scene, which is ``factor``
    times as large as the measurement where the options or the class have such a factor.

    Raises:
        PipelineError: the library is not here, or has no such linear operator.
        Exception: of whatever class, if the options are not the operator's.
    """
    return _made(name, json.dumps(options, sort_keys=True))


@functools.lru_cache(maxsize=4)
def _made(name: str, options: str) -> Physics:
    from diffpir.operators.physics import Physics

    library = importlib.import_module(f"{LIBRARY}.physics")
    kind: Any = getattr(library, name, None)
    if not (isinstance(kind, type) and issubclass(kind, library.LinearPhysics)):
        what = "no linear operator" if kind is not None else "not there"
        raise PipelineError(
            f"task.operator: {LIBRARY}:{name} is {what}; expected a linear one of deepinv.physics, "
            "such as Blur, BlurFFT, Downsampling or Inpainting"
        )
    given = {key: _value(library, key, value) for key, value in json.loads(options).items()}
    parameters = inspect.signature(kind).parameters
    sized = SIZE in parameters and SIZE not in given
    factor = _factor(given.get("factor"), parameters)

    def scene_of(size: tuple[int, ...]) -> tuple[int, ...]:
        channels, height, width = size
        return channels, round(height * factor), round(width * factor)

    def make(size: tuple[int, ...]) -> Any:
        return kind(**given, **({SIZE: size} if sized else {}))

    closed = getattr(kind, "prox_l2") is not library.LinearPhysics.prox_l2  # noqa: B009
    if kind is getattr(library, "Downsampling", None):
        closed = given.get("padding", parameters["padding"].default) == "circular"
    operator = Physics(make, scene_of if sized else lambda size: size, closed)
    if not sized:
        make(())  # whatever is wrong with the options is to be found before the work
    return operator


def _factor(given: Any, parameters: Mapping[str, inspect.Parameter]) -> float:
    """How many times as large a scene is as its measurement."""
    usual = parameters["factor"].default if "factor" in parameters else 1
    factor = usual if given is None else given
    return factor if isinstance(factor, int | float) else 1


def _value(library: Any, key: str, value: Any) -> Any:
    if isinstance(value, list):
        return tuple(value)
    if not isinstance(value, dict):
        return value
    import torch

    (name, inner), *more = value.items() if value else [("", None)]
    if more or (name != "tensor" and name not in FILTERS):
        raise PipelineError(
            f"task.options.{key}: expected a value, {{tensor: [[...]]}}, or one of deepinv's "
            f"filters with its keywords, such as {{gaussian_blur: {{sigma: 2}}}} "
            f"({', '.join(FILTERS)})"
        )
    if name == "tensor":
        return torch.tensor(inner, dtype=torch.float32)
    make = getattr(importlib.import_module(f"{LIBRARY}.physics.functional"), name)
    return make(**{k: tuple(v) if isinstance(v, list) else v for k, v in (inner or {}).items()})
