"""DDRM: Kawar et al. 2022 (arXiv 2201.11793), as in github.com/bahjat-kawar/ddrm."""

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


def ddrm(
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
    """Each singular component is drawn by itself, as noisy as y or as the step (eq. 7 and 8).

    ``zeta`` is the square of the authors' eta; their eta_b is 1, as they have it. Arguments as of
    :func:`diffpir.sampler.restore`; ``guess`` does not matter.
    """
    draws = enough(noise)
    seen = Range(operator, "ddrm")
    sigma_y = noise_on_both_sides(noise_level, y)
    if x_start is None:
        z = next(draws)
        y_pm = on_both_sides(operator, y, z)
        x_t = _start(
            seen, y_pm, z, float(schedule.sigma_bar[config.timesteps(schedule)[0]]), sigma_y
        )
    else:
        x_t = x_start
        y_pm = on_both_sides(operator, y, x_t)
    for t, abar_t, s, abar_s in steps(config, schedule):
        x0 = yield x_t, t
        z = next(draws) if s >= 0 else torch.zeros_like(x0)
        sigma = (1 / abar_s - 1) ** 0.5
        eps = noise_in(x_t, x0, abar_t)
        x_t = abar_s**0.5 * _next(seen, y_pm, x0, eps, z, sigma, sigma_y, config.zeta**0.5)
        if callback:
            callback(Step(t, x0, None, x_t))
    return finished(operator, x_t, y, noise_level)


def _start(seen: Range, y: Tensor, z: Tensor, sigma: float, sigma_y: Tensor) -> Tensor:
    """The state at noise level sigma: around y's components where these are less noisy than it."""

    def of_y(s: Tensor) -> Tensor:
        return (s * sigma > sigma_y) / s

    def of_z(s: Tensor) -> Tensor:
        told = s * sigma > sigma_y
        return (sigma**2 - told * (sigma_y / s) ** 2).clamp(min=0).sqrt()

    return (seen.lifted(y, lambda s: of_y(s) / s) + seen.scaled(z, of_z)) / sigma + seen.unseen(z)


def _next(
    seen: Range,
    y: Tensor,
    x0: Tensor,
    eps: Tensor,
    z: Tensor,
    sigma: float,
    sigma_y: Tensor,
    eta: float,
) -> Tensor:
    """``x_s / sqrt(abar_s)`` at noise level sigma: the three cases of eq. 8."""
    kept, fresh = (1 - eta**2) ** 0.5 * sigma, eta * sigma
    slack = kept / sigma_y.clamp(min=TINY)

    def by_y(s: Tensor) -> Tensor:  # y is less noisy than the step
        return s * sigma > sigma_y

    x = seen.lifted(y, lambda s: torch.where(by_y(s), 1 / s, slack) / s)
    x = x + seen.scaled(x0, lambda s: torch.where(by_y(s), 0, 1 - slack * s))

    def of_z(s: Tensor) -> Tensor:
        rest = (sigma**2 - (sigma_y / s) ** 2).clamp(min=0).sqrt()
        return torch.where(by_y(s), rest, fresh)

    return x + seen.scaled(z, of_z) + seen.unseen(x0 + kept * eps + fresh * z)
