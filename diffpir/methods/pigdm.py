"""PiGDM: Song et al. 2023 (openreview 9_gsMA8MRKQ), as in github.com/NVlabs/RED-diff."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import torch
from torch import Tensor

from diffpir.config import SamplerConfig
from diffpir.methods.steps import finished, noise_in, noise_on_both_sides, on_both_sides, steps
from diffpir.operators import Operator
from diffpir.sampling import Sampling, Step, enough
from diffpir.schedule import Schedule

SIGMA_FLOOR = 1e-5  # of y's noise: without any, the data step is the pseudo-inverse's


def pigdm(
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
    """The data step's change of x0, taken back through the network to x_t (algorithm 1).

    The data step is that of a prior error with variance ``r_t^2 = sigma_bar^2 / (1 + sigma_bar^2)``
    (eq. 7). ``zeta`` is the square of the authors' eta, ``guidance`` the gradient's weight. The
    state that is handed out requires a gradient, and x0 must be differentiable by it. Arguments as
    of :func:`diffpir.sampler.restore`; ``guess`` is what it begins with.
    """
    draws = enough(noise)
    variance = (noise_on_both_sides(noise_level, y) ** 2).clamp(min=SIGMA_FLOOR**2)
    x_t = x_start
    if x_t is None:
        x_init = 2 * (operator.initial(y) if guess is None else guess) - 1
        x_t = schedule.diffuse(x_init, config.timesteps(schedule)[0], next(draws))
    y_pm = on_both_sides(operator, y, x_t)
    for t, abar_t, s, abar_s in steps(config, schedule):
        x_t = x_t.detach().requires_grad_()
        graph = yield x_t, t
        x0 = graph.detach()
        r2 = 1 - abar_t  # sigma_bar^2 / (1 + sigma_bar^2)
        x0_hat = operator.prox(x0, y_pm, (variance / r2).flatten())
        (gradient,) = torch.autograd.grad(graph, x_t, x0_hat - x0)
        x_t = x_t.detach()
        c1 = (config.zeta * (1 - abar_t / abar_s) * (1 - abar_s) / (1 - abar_t)) ** 0.5
        c2 = (1 - abar_s - c1**2) ** 0.5
        x_s = abar_s**0.5 * x0 + c2 * noise_in(x_t, x0, abar_t)
        x_s = x_s + config.guidance * (abar_s * abar_t) ** 0.5 * gradient
        x_t = x_s + c1 * next(draws) if s >= 0 and c1 else x_s
        if callback:
            callback(Step(t, x0, x0_hat, x_t))
    return finished(operator, x_t, y, noise_level)
