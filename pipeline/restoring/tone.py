"""Scenes that are brighter than white, as pictures that end there."""

from __future__ import annotations

from torch import Tensor

KNEE = 0.8  # up to which values stay as they are


def softened(x: Tensor, peak: float) -> Tensor:
    """Values from 0 to ``peak`` brought to 0 to 1: those above 0.8 more and more compressed.

    A rational curve that goes on from the knee with the slope 1.
    """
    slope = (peak - KNEE) / (1 - KNEE)
    above = ((x - KNEE) / (peak - KNEE)).clamp(min=0)
    return x.clamp(max=KNEE) + (1 - KNEE) * slope * above / (1 + (slope - 1) * above)
