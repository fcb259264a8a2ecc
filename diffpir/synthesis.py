"""Measurements made from clean images, as benchmarks do: ``y = A x + n``."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from diffpir.noise_model import NoiseModel
from diffpir.operators import Operator, measured
from diffpir.randomness import generator


def synthesise(
    clean: Tensor,
    operator: Operator,
    noise: float | NoiseModel,
    seed: int,
    *,
    grey: bool = False,
) -> Tensor:
    """``A x + n`` for one image.

    Args:
        clean: x, (1, C, H, W) on [0, 1].
        operator: A.
        noise: standard deviation of n on [0, 1], or its model.
        seed: of n alone; the image's own.
        grey: x is a grey scene in C equal channels: a sensor has measured it once, so where they
            are equal in A x, their noise is too.

    Returns:
        (1, C, h, w), neither clipped nor rounded; where the operator hides a pixel there is no
        noise either.
    """
    return add_noise(operator.forward(clean), noise, seed, operator, grey=grey)


def add_noise(
    y: Tensor,
    noise: float | NoiseModel,
    seed: int,
    operator: Operator,
    *,
    grey: bool = False,
) -> Tensor:
    """Noise on every value that the operator measures; see :func:`synthesise`.

    White and Gaussian; of a model that counts light, also counts (Poisson's) less their mean.
    """
    shape = list(y.shape)
    if grey and torch.allclose(y, y[:, :1].expand_as(y), atol=1e-5):
        shape[1] = 1
    rng = generator(seed)
    n = torch.from_numpy(rng.standard_normal(shape, np.float32)).to(y)
    model = noise if isinstance(noise, NoiseModel) else NoiseModel(noise)
    n = torch.as_tensor(model.gaussian).to(y) * n
    if model.counts:
        n = n + _shot(y[:, : shape[1]], model, rng)
    return y + n * measured(operator, operator.initial(y))


def _shot(a: Tensor, model: NoiseModel, rng: np.random.Generator) -> Tensor:
    """Counted light less what was expected; values below 0 have none."""
    per_count = np.broadcast_to(np.asarray(torch.as_tensor(model.poisson), np.float64), a.shape)
    mean = np.divide(
        a.clamp(min=0).double().numpy(), per_count, where=per_count > 0, out=np.zeros(a.shape)
    )
    return torch.from_numpy((rng.poisson(mean) - mean) * per_count).to(a)
