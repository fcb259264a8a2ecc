"""What the methods have in common: their steps, and what a measurement is to them."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise

import torch
from torch import Tensor

from diffpir.config import SamplerConfig
from diffpir.operators import Operator, per_image
from diffpir.sampling import noise_levels
from diffpir.schedule import Schedule


def steps(config: SamplerConfig, schedule: Schedule) -> Iterator[tuple[int, float, int, float]]:
    """``(t, abar_t, s, abar_s)`` of each step t -> s; the last leads to s = -1, without noise."""
    alpha_bar: list[float] = schedule.alpha_bar.tolist()
    for t, s in pairwise([*config.timesteps(schedule), -1]):
        yield t, alpha_bar[t], s, alpha_bar[s] if s >= 0 else 1.0


def on_both_sides(operator: Operator, y: Tensor, x_like: Tensor) -> Tensor:
    """y on [0, 1] as the measurement of a scene on [-1, 1]: ``2 y - A(1)``."""
    return 2 * y - operator.forward(torch.ones_like(x_like))


def noise_on_both_sides(noise_level: float | Tensor, y: Tensor) -> Tensor:
    """The noise's standard deviation on [-1, 1], ``2 sigma_n``: () or (B, 1, 1, 1), as y's type."""
    return 2 * per_image(noise_levels(noise_level, y), y).to(y)


def noise_in(x_t: Tensor, x0: Tensor, alpha_bar: float) -> Tensor:
    """What the network takes for noise: ``(x_t - sqrt(abar_t) x0) / sqrt(1 - abar_t)``."""
    noise: Tensor = (x_t - alpha_bar**0.5 * x0) / (1 - alpha_bar) ** 0.5
    return noise


def finished(operator: Operator, x: Tensor, y: Tensor, noise_level: float | Tensor) -> Tensor:
    """A scene on [-1, 1] as the result on [0, 1]; what a noiseless y determines is as y has it."""
    x = (x + 1) / 2
    sigma_n = per_image(noise_levels(noise_level, y), x)
    return torch.where(sigma_n == 0, operator.impose(x, y), x)
