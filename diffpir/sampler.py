"""DiffPIR: Zhu et al. 2023 (arXiv 2305.08995), algorithm 1; it calls the other methods by name."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable

import torch
from torch import Tensor

from diffpir.config import SamplerConfig
from diffpir.data_step import DataStep, IsotropicStep, SpectralStep, Weight
from diffpir.noise_model import NoiseModel
from diffpir.operators import Operator, per_image
from diffpir.rivals import RIVALS, rival
from diffpir.sampling import (
    SIGMA_FLOOR,
    Denoiser,
    NoiseLevel,
    Sampling,
    Step,
    enough,
    noise_levels,
    together,
)
from diffpir.schedule import Schedule
from diffpir.spectrum import PriorSpectrum


def restore(
    denoise: Denoiser,
    operator: Operator,
    y: Tensor,
    *,
    schedule: Schedule,
    config: SamplerConfig,
    noise_level: NoiseLevel,
    noise: Iterable[Tensor],
    x_start: Tensor | None = None,
    guess: Tensor | None = None,
    spectrum: PriorSpectrum | None = None,
    callback: Callable[[Step], None] | None = None,
) -> Tensor:
    """Restore a batch of images from their measurements ``y = A x + n``.

    This is DiffPIR, algorithm 1 of Zhu et al. 2023 (arXiv 2305.08995), or the method that
    ``config`` names. :func:`pipeline.restore_images` restores pictures in one call, with settings
    for each task.

    Args:
        denoise: a function ``(x_t, t) -> x0`` on [-1, 1], such as an :class:`diffpir.EpsDenoiser`.
            Its answer is clipped to this range.
        operator: A, such as :class:`diffpir.Downsample`.
        y: the measurements, (B, C, h, w) on [0, 1].
        schedule: of the diffusion that ``denoise`` was trained for.
        config: the sampler's settings.
        noise_level: the standard deviation sigma_n for pixel values on [0, 1]: one number, a tensor
            with one for each image, or a :class:`diffpir.NoiseModel`.
        noise: standard normal draws of the shape of x, such as :func:`diffpir.noise_stream`: first
            that of the start, unless ``x_start`` is given, then one for each step where zeta > 0.
        x_start: (B, C, H, W) on [-1, 1], the state at the first timestep; None to draw it.
        guess: (B, C, H, W) on [0, 1], an estimate of the scene from y alone, from which the first
            state is made; None for ``operator.initial(y)``.
        spectrum: of the prior's error, for the method ``diffpir-spectral``.
        callback: is called with every :class:`diffpir.sampling.Step`.

    Returns:
        (B, C, H, W) on [0, 1]. Values that a y without noise determines are exactly those of y.
        With ``final="state"``, the noise that is left may go beyond the range.

    Raises:
        ValueError: a noise level is negative or not a number, there are not as many levels as
            images, the schedule does not have the timesteps of the settings, ``noise`` ends too
            early, or the method needs a spectrum or an operator's singular values and there are
            none.

    Examples:
        >>> import torch
        >>> from diffpir import Denoise, EpsDenoiser, SamplerConfig, Schedule
        >>> from diffpir import builtin_path, load_model, noise_stream, restore
        >>> schedule = Schedule.linear()
        >>> denoise = EpsDenoiser(load_model(builtin_path()), schedule)
        >>> y = 0.5 + 0.1 * torch.randn(1, 3, 32, 32, generator=torch.manual_seed(0))
        >>> x = restore(
        ...     denoise,
        ...     Denoise(),
        ...     y,
        ...     schedule=schedule,
        ...     config=SamplerConfig(nfe=5, lam=5.0, zeta=1.0, sigma_max=1.0),
        ...     noise_level=0.1,
        ...     noise=noise_stream([0], (3, 32, 32)),
        ... )
        >>> x.shape, bool(x.std() < 0.5 * y.std())
        (torch.Size([1, 3, 32, 32]), True)
    """
    sampling = sample(
        operator,
        y,
        schedule=schedule,
        config=config,
        noise_level=noise_level,
        noise=noise,
        x_start=x_start,
        guess=guess,
        spectrum=spectrum,
        callback=callback,
    )
    return together(lambda states, t: [denoise(x_t, t) for x_t in states], [sampling])[0]


def sample(
    operator: Operator,
    y: Tensor,
    *,
    schedule: Schedule,
    config: SamplerConfig,
    noise_level: NoiseLevel,
    noise: Iterable[Tensor],
    x_start: Tensor | None = None,
    guess: Tensor | None = None,
    spectrum: PriorSpectrum | None = None,
    callback: Callable[[Step], None] | None = None,
) -> Sampling:
    """Run the algorithm as a generator, which asks its caller for every denoised image.

    It yields ``(x_t, t)``, must be sent x0, and returns the restored images. The arguments are
    those of :func:`restore`. Where the method takes gradients, x_t requires one, and x0 must be
    differentiable by x_t.
    """
    if config.method in RIVALS:
        if isinstance(noise_level, NoiseModel):
            raise ValueError(f"the method {config.method} takes one noise level for each image")
        restored: Tensor = yield from rival(config.method)(
            operator,
            y,
            schedule=schedule,
            config=config,
            noise_level=noise_level,
            noise=noise,
            x_start=x_start,
            guess=guess,
            callback=callback,
        )
        return restored
    timesteps = config.timesteps(schedule)
    alpha_bar: list[float] = schedule.alpha_bar.tolist()
    sigma_bar: list[float] = schedule.sigma_bar.tolist()
    lam_sigma2 = data_weight(noise_level, operator, y, config.lam)
    draws = enough(noise)

    x_init = 2 * (operator.initial(y) if guess is None else guess) - 1
    # On [-1, 1] the measurement of 2 x - 1 is 2 y - A(1).
    y_pm = 2 * y - operator.forward(torch.ones_like(x_init))
    data_step: DataStep
    if config.method == "diffpir":
        data_step = IsotropicStep(operator, y_pm, lam_sigma2, config)
    elif spectrum is None:
        raise ValueError(f"the method {config.method} needs the prior's error spectrum")
    else:
        data_step = SpectralStep(operator, y_pm, lam_sigma2, spectrum)
        x_init = data_step.start(x_init)
    x_t = schedule.diffuse(x_init, timesteps[0], next(draws)) if x_start is None else x_start
    del x_init  # of large images, each array counts

    x0_hat: Tensor | None = None

    def under_relaxed(x0: Tensor) -> Tensor:
        return x0 if x0_hat is None else x0 + config.relax * (x0_hat - x0)

    for t, s in itertools.pairwise(timesteps):
        x0 = (yield x_t, t).clamp(-1, 1)
        relaxed = under_relaxed(x0)
        x0_hat = relaxed + config.guidance * (data_step(relaxed, sigma_bar[t]) - relaxed)
        eps_hat = (x_t - alpha_bar[t] ** 0.5 * x0_hat) / (1 - alpha_bar[t]) ** 0.5
        if config.zeta > 0:
            z = data_step.fresh(next(draws), sigma_bar[s])
            eps_hat = (1 - config.zeta) ** 0.5 * eps_hat + config.zeta**0.5 * z
        x_t = alpha_bar[s] ** 0.5 * x0_hat + (1 - alpha_bar[s]) ** 0.5 * eps_hat
        if callback:
            callback(Step(t, x0, x0_hat, x_t))

    if config.final == "state":
        return (x_t + 1) / 2
    x0 = (yield x_t, timesteps[-1]).clamp(-1, 1)
    if callback:
        callback(Step(timesteps[-1], x0))
    x = (under_relaxed(x0) + 1) / 2
    if isinstance(noise_level, NoiseModel):
        return x
    # Without noise, what was measured is known: no prior may change it.
    sigma_n = noise_levels(noise_level, y)
    return torch.where(per_image(sigma_n, x) == 0, operator.impose(x, y), x)


def data_weight(noise_level: NoiseLevel, operator: Operator, y: Tensor, lam: float) -> Weight:
    """``lambda sigma_n^2`` as data steps take it; of shot noise, by the light that x0 shows."""
    if isinstance(noise_level, int | float):  # a number, which operators need not wait for
        noise_levels(noise_level, y)
        return lam * max(noise_level, SIGMA_FLOOR) ** 2
    if not isinstance(noise_level, NoiseModel):
        return lam * noise_levels(noise_level, y).clamp(min=SIGMA_FLOOR) ** 2
    model = noise_level

    def weight(a: Tensor) -> Tensor:
        return lam * model.variance(a).clamp(min=SIGMA_FLOOR**2)

    return (lambda x0: weight(operator.forward((x0 + 1) / 2))) if model.counts else weight(y)
