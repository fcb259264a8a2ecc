"""Measurements made from clean images, as benchmarks do: ``y = A x + n``."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from diffpir.operators import Operator, measured
from diffpir.randomness import generator


def synthesise(clean: Tensor, operator: Operator, noise_level: float, seed: int) -> Tensor:
    """``A x + sigma_n n`` for one image.

    Args:
        clean: x, (1, C, H, W) on [0, 1].
        operator: A.
        noise_level: sigma_n on [0, 1].
        seed: of n alone; the image's own.

    Returns:
        (1, C, h, w), neither clipped nor rounded; where the operator hides a pixel there is no
        noise either.
    """
    return add_noise(operator.forward(clean), noise_level, seed, operator)


def add_noise(y: Tensor, noise_level: float, seed: int, operator: Operator) -> Tensor:
    """White Gaussian noise on every value that the operator measures."""
    noise = torch.from_numpy(generator(seed).standard_normal(y.shape, np.float32)).to(y)
    return y + noise_level * noise * measured(operator, operator.initial(y))
