"""MATLAB-style antialiased bicubic reduction: what "bicubic" means in super-resolution."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from diffpir.kernels import cubic


def bicubic_downsample(x: Tensor, factor: int) -> Tensor:
    """(..., H, W) -> (..., H // factor, W // factor), as ``imresize(x, 1 / factor)``.

    Raises:
        ValueError: a side is no multiple of the factor.
    """
    height, width = x.shape[-2:]
    if height % factor or width % factor:
        raise ValueError(f"{width} x {height} is no multiple of the factor {factor}")
    rows = torch.as_tensor(_weights(height, factor)).to(x)
    columns = torch.as_tensor(_weights(width, factor)).to(x)
    return rows @ x @ columns.T


def _weights(size: int, factor: int) -> np.ndarray:
    """(size // factor, size): each row the cubic at scale ``factor``, reflected at the border."""
    weights = np.zeros((size // factor, size))
    for i, row in enumerate(weights):
        centre = (i + 0.5) * factor - 0.5
        pixels = np.arange(int(centre) - 2 * factor, int(centre) + 2 * factor + 2)
        share = cubic((pixels - centre) / factor)
        folded = pixels % (2 * size)
        np.add.at(row, np.minimum(folded, 2 * size - 1 - folded), share / share.sum())
    return weights
