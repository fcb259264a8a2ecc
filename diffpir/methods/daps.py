"""DAPS: Zhang et al. 2025 (arXiv 2407.01521), as in github.com/zhangbingliang2019/DAPS."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from itertools import pairwise

import numpy as np
from torch import Tensor

from diffpir.config import SamplerConfig
from diffpir.methods.steps import finished, noise_in, on_both_sides
from diffpir.operators import Operator
from diffpir.sampling import Sampling, Step, enough
from diffpir.schedule import Schedule

ODE_STEPS = 5  # evaluations for each level
ANNEALED = (100.0, 0.1)  # noise levels that the state goes through
CLEAN = 0.01  # where each trajectory ends
POWER = 7  # of the spacing of both
LANGEVIN_STEPS = 100
RATE, LAST_RATE = 1e-4, 1e-6
TAU = 0.01  # what the data may differ by


def daps(
    operator: Operator,
    y: Tensor,
    *,
    schedule: Schedule,
    config: SamplerConfig,
    noise_level: float | Tensor,
    noise: Iterable[Tensor],
    x_start: Tensor | None = None,
    guess: Tensor | None = None,
    callback: Callable[[Step], None] | None = None,
) -> Sampling:
    """From each noise level down to a clean image, towards the data, and up to the next level.

    The way down is the probability-flow ODE by Euler's method, the way to the data Langevin
    dynamics with many draws of noise for each evaluation of the network. Arguments as of
    :func:`diffpir.sampler.restore`; ``guess`` does not matter.
    """
    draws = enough(noise)
    annealing = config.nfe // ODE_STEPS
    sigmas = [*falling(*ANNEALED, annealing + 1)[:-1], 0.0]
    x = sigmas[0] * next(draws) if x_start is None else x_start  # x0 + sigma z
    y_pm = on_both_sides(operator, y, x)
    for k, sigma in enumerate(sigmas[:-1]):
        x0_hat, levels = x, falling(sigma, CLEAN, ODE_STEPS + 1)
        for level, lower in pairwise(levels):
            t = schedule.nearest(level)
            x_t = x0_hat / (1 + level**2) ** 0.5
            x0 = yield x_t, t
            x0_hat = x0_hat + (lower - level) * noise_in(x_t, x0, float(schedule.alpha_bar[t]))
        rate = RATE + k / (annealing + 1) * (LAST_RATE - RATE)
        x0_y = x0_hat
        for _ in range(LANGEVIN_STEPS):
            score = (x0_hat - x0_y) / sigma**2
            score = score - 2 * operator.adjoint(operator.forward(x0_y) - y_pm) / TAU**2
            x0_y = x0_y + rate * score + (2 * rate) ** 0.5 * next(draws)
        x = x0_y + sigmas[k + 1] * next(draws) if sigmas[k + 1] else x0_y
        if callback:
            callback(Step(t, x0_hat, x0_y, x))
    return finished(operator, x, y, noise_level)


def falling(high: float, low: float, count: int) -> list[float]:
    """Noise levels as Karras et al. 2022 space them (eq. 5)."""
    ends = high ** (1 / POWER), low ** (1 / POWER)
    return [float(root) ** POWER for root in np.linspace(*ends, count)]
