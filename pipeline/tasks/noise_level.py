"""The noise level as jobs give it: a standard deviation for pixel values on [0, 1], or ``auto``."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BeforeValidator


def _on_255(value: Any) -> str:
    """A hint for who gives noise as on 0..255, or in percent."""
    try:
        if isinstance(value, str) and value.endswith("%"):
            return f"; in place of {value} write {float(value[:-1]) / 100:.2g}"
        level = float(value)
    except (TypeError, ValueError):
        return ""
    if not 1 < level <= 255:
        return ""
    return f"; if it is on 0..255, write {level / 255:.2g}; if in percent, {level / 100:.2g}"


def _noise_level(value: Any) -> Any:
    try:
        good = value is None or value == "auto" or 0 <= float(value) <= 1
    except (TypeError, ValueError):
        good = False
    if not good or isinstance(value, bool):
        raise ValueError(f"must be a finite number from 0 to 1, or auto{_on_255(value)}")
    return value


# ``auto`` is what can be estimated from each measurement itself (:mod:`diffpir.noise`).
NoiseLevel = Annotated[float | Literal["auto"], BeforeValidator(_noise_level)]
