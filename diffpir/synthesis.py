"""Measurements made from clean images, as benchmarks do: ``y = A x + n``."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from diffpir.operators import Operator, measured
from diffpir.randomness import generator


def synthesise(
    clean: Tensor, operator: Operator, noise_level: float, seed: int, *, grey: bool = False
) -> Tensor:
    """``A x + sigma_n n`` for one image.

    Args:
        clean: x, (1, C, H, W) on [0, 1].
        operator: A.
        noise_level: sigma_n on [0, 1].
        seed: of n alone; the image's own.
        grey: x is a grey scene in C equal channels: a sensor has measured it once, so where they
            are equal in A x, their noise is too.

    Returns:
        (1, C, h, w), neither clipped nor rounded; where the operator hides a pixel there is no
        noise either.
    """
    return add_noise(operator.forward(clean), noise_level, seed, operator, grey=grey)


def add_noise(
    y: Tensor, noise_level: float, seed: int, operator: Operator, *, grey: bool = False
) -> Tensor:
    """White Gaussian noise on every value that the operator measures; see :func:`synthesise`."""
    shape = list(y.shape)
    if grey and torch.allclose(y, y[:, :1].expand_as(y), atol=1e-5):
        shape[1] = 1
    noise = torch.from_numpy(generator(seed).standard_normal(shape, np.float32)).to(y)
    return y + noise_level * noise * measured(operator, operator.initial(y))
