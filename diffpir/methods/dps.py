"""DPS: Chung et al. 2023 (arXiv 2209.14687), as in the authors' diffusion-posterior-sampling."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import torch
from torch import Tensor

from diffpir.config import SamplerConfig
from diffpir.methods.steps import finished, on_both_sides, steps
from diffpir.operators import Operator
from diffpir.sampling import Sampling, Step, enough
from diffpir.schedule import Schedule

TINY = 1e-12


def dps(
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
    """DDPM's steps, each less the gradient of the data's error by x_t (algorithm 1).

    ``guidance`` is that gradient's weight. The steps' variance is DDPM's smaller one, that of the
    posterior; the authors' network predicts it. The state that is handed out requires a gradient,
    and x0 must be differentiable by it. Arguments as of :func:`diffpir.sampler.restore`; ``guess``
    does not matter.
    """
    draws = enough(noise)
    x_t = next(draws) if x_start is None else x_start
    y_pm = on_both_sides(operator, y, x_t)
    for t, abar_t, s, abar_s in steps(config, schedule):
        x_t = x_t.detach().requires_grad_()
        graph = yield x_t, t
        x0 = graph.detach().clamp(-1, 1)
        residual = y_pm - operator.forward(x0)
        norm = residual.square().sum(dim=(1, 2, 3), keepdim=True).sqrt().clamp(min=TINY)
        towards = operator.adjoint(residual) / norm
        towards = torch.where(graph.detach().abs() <= 1, towards, 0)  # what is clipped stays
        (gradient,) = torch.autograd.grad(graph, x_t, towards)
        x_t = x_t.detach()
        beta = 1 - abar_t / abar_s
        mean = abar_s**0.5 * beta * x0 + (1 - abar_s) * (1 - beta) ** 0.5 * x_t
        x_t = mean / (1 - abar_t) + config.guidance * gradient
        if s >= 0:
            x_t = x_t + (beta * (1 - abar_s) / (1 - abar_t)) ** 0.5 * next(draws)
        if callback:
            callback(Step(t, x0, None, x_t))
    return finished(operator, x_t, y, noise_level)
