"""RED-diff: Mardani et al. 2024 (arXiv 2305.04391), as in github.com/NVlabs/RED-diff."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import torch
from torch import Tensor

from diffpir.config import SamplerConfig
from diffpir.methods.singular import Range
from diffpir.methods.steps import finished, noise_in, on_both_sides, steps
from diffpir.operators import Decomposable, Operator
from diffpir.sampling import Sampling, Step, enough
from diffpir.schedule import Schedule

RATE, BETAS, EPSILON = 0.1, (0.9, 0.99), 1e-8  # of Adam
START = 0.03  # singular values up to this are not inverted for the start


def red_diff(
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
    """Adam on the image itself: the data's error, and what the network has against it (eq. 10).

    ``lam`` is the weight of the network's part, in proportion to the noise level. It begins with
    the pseudo-inverse of y, or where the operator has no singular values at hand, with the guess.
    Nothing is differentiated but A. The authors return the image before the last step, and this
    the one after it. Arguments as of :func:`diffpir.sampler.restore`.
    """
    draws = enough(noise)
    mu = x_start
    if mu is None:
        mu = 2 * (operator.initial(y) if guess is None else guess) - 1
    y_pm = on_both_sides(operator, y, mu)
    if x_start is None and isinstance(operator, Decomposable):
        mu = Range(operator, "red-diff", START).pinv(y_pm)
    first = second = torch.zeros_like(mu)
    for count, (t, abar_t, _, _) in enumerate(steps(config, schedule), start=1):
        z = next(draws)
        x_t = abar_t**0.5 * mu + (1 - abar_t) ** 0.5 * z
        x0 = yield x_t, t
        sigma_bar = (1 / abar_t - 1) ** 0.5
        error = noise_in(x_t, x0, abar_t) - z
        residual = operator.forward(mu) - y_pm
        # Both of means over an image's values.
        gradient = config.lam * sigma_bar * error / error[0].numel()
        gradient = gradient + operator.adjoint(residual) / residual[0].numel()
        first = BETAS[0] * first + (1 - BETAS[0]) * gradient
        second = BETAS[1] * second + (1 - BETAS[1]) * gradient**2
        spread = (second / (1 - BETAS[1] ** count)).sqrt() + EPSILON
        mu = mu - RATE / (1 - BETAS[0] ** count) * first / spread
        if callback:
            callback(Step(t, x0, None, mu))
    return finished(operator, mu, y, noise_level)
