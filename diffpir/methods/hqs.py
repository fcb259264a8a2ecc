"""DPIR: Zhang et al. 2021 (arXiv 2008.13751), as in github.com/cszn/DPIR."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import numpy as np
from torch import Tensor

from diffpir.config import SamplerConfig
from diffpir.methods.steps import finished, noise_on_both_sides, on_both_sides
from diffpir.operators import Operator
from diffpir.sampling import SIGMA_FLOOR, Sampling, Step
from diffpir.schedule import Schedule


def hqs(
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
    """Plug-and-play by half-quadratic splitting: data step, denoising, at falling noise levels.

    Nothing is random. The levels fall geometrically from ``sigma_max`` to that of y, but not below
    ``sigma_min``; ``lam`` is the prior's weight against the data, and the prior's one-shot
    denoising stands for the authors' denoiser. Arguments as of :func:`diffpir.sampler.restore`.

    Raises:
        ValueError: the images' noise levels differ, and so do the levels they would go through.
    """
    if config.sigma_max is None or config.sigma_min is None:
        raise ValueError("the method hqs needs sigma_max and sigma_min")
    sigma_y = noise_on_both_sides(noise_level, y).flatten()
    if (sigma_y != sigma_y[0]).any():
        raise ValueError("hqs goes through other steps for each noise level: restore those apart")
    own = float(sigma_y[0])
    x = x_start
    if x is None:
        x = 2 * (operator.initial(y) if guess is None else guess) - 1
    y_pm = on_both_sides(operator, y, x)
    last = max(own, config.sigma_min)
    for sigma in np.geomspace(max(config.sigma_max, last), last, config.nfe).tolist():
        x_hat = operator.prox(x, y_pm, config.lam * max(own, 2 * SIGMA_FLOOR) ** 2 / sigma**2)
        t = schedule.nearest(sigma)
        x = yield float(schedule.alpha_bar[t]) ** 0.5 * x_hat, t
        if callback:
            callback(Step(t, x, x_hat, x))
    return finished(operator, x, y, noise_level)
