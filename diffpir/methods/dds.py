"""DDS: Chung et al. 2024 (arXiv 2303.05754), as in github.com/HJ-harry/DDS."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from torch import Tensor

from diffpir.config import SamplerConfig
from diffpir.methods.steps import finished, noise_in, noise_on_both_sides, on_both_sides, steps
from diffpir.operators import Operator
from diffpir.operators.solver import conjugate_gradients
from diffpir.sampling import Sampling, Step, enough
from diffpir.schedule import Schedule

ITERATIONS = 5  # of conjugate gradients in each step
RTOL = 1e-7


def dds(
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
    """A few conjugate gradients towards the data, from the denoised image on (algorithm 1).

    ``zeta`` is the square of the authors' eta, ``lam`` one over their gamma: the prior's weight
    against the data, whatever the noise; without noise it is 0. Arguments as of
    :func:`diffpir.sampler.restore`; ``guess`` does not matter.
    """
    draws = enough(noise)
    eta = config.zeta**0.5
    # Without noise: y alone, so far as the iterations get.
    lam = config.lam * (noise_on_both_sides(noise_level, y) > 0).to(y)

    x_t = next(draws) if x_start is None else x_start
    y_pm = on_both_sides(operator, y, x_t)
    back = operator.adjoint(y_pm)
    for t, abar_t, s, abar_s in steps(config, schedule):
        x0 = yield x_t, t
        x0_hat = conjugate_gradients(
            lambda x: operator.adjoint(operator.forward(x)),
            lam * x0 + back,
            lam,
            start=x0,
            rtol=RTOL,
            max_iterations=ITERATIONS,
        )
        if s > 0:
            eps = (1 - eta**2) ** 0.5 * noise_in(x_t, x0, abar_t) + eta * next(draws)
            x_t = abar_s**0.5 * x0_hat + (1 - abar_s) ** 0.5 * eps
        else:  # the authors' code: the state at timestep 0 has no noise any more
            x_t = x0_hat
        if callback:
            callback(Step(t, x0, x0_hat, x_t))
    return finished(operator, x_t, y, noise_level)
