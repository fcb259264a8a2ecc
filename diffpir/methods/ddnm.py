"""DDNM and DDNM+: Wang et al. 2023 (arXiv 2212.00490), as in github.com/wyhuai/DDNM."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import torch
from torch import Tensor

from diffpir.config import SamplerConfig
from diffpir.methods.singular import Range
from diffpir.methods.steps import finished, noise_in, noise_on_both_sides, on_both_sides, steps
from diffpir.operators import Operator
from diffpir.sampling import Sampling, Step, enough
from diffpir.schedule import Schedule

TINY = 1e-12


def ddnm(
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
    """What the operator sees is taken from y, the rest from the network (eq. 13; with noise 17).

    ``zeta`` is the square of the authors' eta; they travel no time unless asked, and neither does
    this. A noisy y is followed as far as the step's noise covers that of y, component by component,
    and the inverse and that weight are one factor, which stays bounded. Arguments as of
    :func:`diffpir.sampler.restore`; ``guess`` does not matter.
    """
    draws = enough(noise)
    seen = Range(operator, "ddnm")
    sigma_y = noise_on_both_sides(noise_level, y)
    eta = config.zeta**0.5

    x_t = next(draws) if x_start is None else x_start
    y_pm = on_both_sides(operator, y, x_t)
    for t, abar_t, s, abar_s in steps(config, schedule):
        x0 = yield x_t, t
        z = next(draws) if s >= 0 else torch.zeros_like(x0)
        eps = noise_in(x_t, x0, abar_t)
        # Relative to the scene: x_s / sqrt(abar_s) has this much noise.
        sigma = (1 / abar_s - 1) ** 0.5
        x0_hat = x0 + _towards_data(seen, y_pm - operator.forward(x0), sigma, sigma_y, eta)
        x_t = abar_s**0.5 * (x0_hat + _noise(seen, eps, z, sigma, sigma_y, eta))
        if callback:
            callback(Step(t, x0, x0_hat, x_t))
    return finished(operator, x_t, y, noise_level)


def _towards_data(seen: Range, r: Tensor, sigma: float, sigma_y: Tensor, eta: float) -> Tensor:
    """``Lambda A^+ r`` of eq. 17: all the way where the step hides y's noise."""
    slack = (1 - eta**2) ** 0.5 * sigma / sigma_y.clamp(min=TINY)

    def weight(s: Tensor) -> Tensor:
        return torch.where(s * sigma < sigma_y, slack * s, 1.0)

    return seen.lifted(r, lambda s: weight(s) / s**2)


def _noise(
    seen: Range, eps: Tensor, z: Tensor, sigma: float, sigma_y: Tensor, eta: float
) -> Tensor:
    """What is added to the step: less by y's own noise where y was followed (eq. 51)."""
    kept, fresh = (1 - eta**2) ** 0.5 * sigma, eta * sigma

    def of_z(s: Tensor) -> Tensor:
        rest = (sigma**2 - (sigma_y / s) ** 2).clamp(min=0).sqrt()
        return torch.where(s * sigma > sigma_y, rest, fresh)

    plain = kept * eps + fresh * z
    noisy = seen.scaled(z, of_z) + seen.unseen(plain)
    return torch.where(sigma_y > 0, noisy, plain)
