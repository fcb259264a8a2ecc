"""The sampler's settings, and the paper's own choices of them by name."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields, replace
from typing import Literal, TypeGuard, get_args

from diffpir.errors import ConfigError
from diffpir.schedule import Schedule, Spacing

# Of the network and of tiling, here because whoever reads a job needs them, and not PyTorch.
Method = Literal["diffpir", "diffpir-spectral"]
Final = Literal["denoised", "state"]
Estimate = Literal["sample", "mean", "best"]  # of several samples (diffpir.posterior)
Precision = Literal["auto", "fp32", "bf16", "fp16"]
BETWEEN = ("karras", "geometric")  # spacings from one noise level to another
TILE = 512  # side in pixels of what the network sees at once


@dataclass(frozen=True, kw_only=True)
class SamplerConfig:
    """Settings of DiffPIR (Zhu et al. 2023, algorithm 1), or of its spectral relative.

    Attributes:
        method: ``diffpir`` is the paper's. ``diffpir-spectral`` weighs the data against the prior
            frequency by frequency, by the prior's measured error spectrum S_t
            (:class:`diffpir.spectrum.PriorSpectrum`) in place of sigma_bar_t^2; it starts from the
            estimate that the pictures' own spectrum gives.
        nfe: network evaluations per image, from 2 (``uniform`` spacing may make one more, final
            ``state`` makes one fewer).
        lam: lambda, weight of the prior against the data, above 0. The paper's 1 to 25. For
            ``diffpir-spectral`` 4 is the weight of a Gaussian error: images are on [-1, 1], where
            the data's noise is 2 sigma_n.
        zeta: share of fresh noise in each step, from 0 (deterministic) to 1.
        guidance: how far to go from the denoised image to the data step's; 1 is all the way.
        relax: share of the data step's image before in each denoised image, from 0 to below 1
            (under-relaxation): with fresh noise every evaluation smooths once more, which this
            counters.
        spacing: of the timesteps: ``quad`` (dense at low noise) or ``uniform``; ``karras`` or
            ``geometric`` from ``sigma_max`` to ``sigma_min``.
        final: ``denoised`` returns the last evaluation's clean image; ``state`` what the authors'
            code returns, with noise of standard deviation 0.005 (on [0, 1]) left in it.
        first_timestep: start at this timestep of the prior's schedule, for ``quad`` and
            ``uniform``; None for ``sigma_max``, or the schedule's own start.
        sigma_max, sigma_min: noise levels sigma_bar between which ``karras`` and ``geometric``
            are spaced; 0.01 to 157 are those of the usual schedule. ``quad`` and ``uniform`` start
            at ``sigma_max``, or higher where it takes so many timesteps as ``nfe`` asks for.
        prior_std: bound of what an image may differ from x0, on [-1, 1], for the data step:
            ``rho_t = lambda sigma_n^2 (1 / sigma_bar_t^2 + 1 / prior_std^2)``; 1 is that of Song et
            al. 2023 (PiGDM). None is the paper's: no bound, so that the first steps of a blur with
            noise are of noise alone, which takes many evaluations, or much fresh noise, to forget.
    """

    method: Method = "diffpir"
    nfe: int = 100
    lam: float = 7.0
    zeta: float = 0.3
    guidance: float = 1.0
    relax: float = 0.0
    spacing: Spacing = "quad"
    final: Final = "denoised"
    first_timestep: int | None = None
    sigma_max: float | None = None
    sigma_min: float | None = None
    prior_std: float | None = None

    def __post_init__(self) -> None:
        for setting in fields(self):
            check_setting(setting.name, getattr(self, setting.name))
        self._check_together()

    def _check_together(self) -> None:
        between = self.spacing in BETWEEN
        for name in ("sigma_max", "sigma_min"):
            if between and getattr(self, name) is None:
                raise ConfigError(f"{name} is missing, which {self.spacing} spacing needs")
        if self.sigma_min is not None and not between:
            raise ConfigError(f"sigma_min goes with {' or '.join(BETWEEN)} spacing")
        if self.first_timestep is not None and self.sigma_max is not None and not between:
            raise ConfigError("first_timestep and sigma_max both say where to start: give one")
        if between and self.first_timestep is not None:
            raise ConfigError(
                f"first_timestep goes with quad or uniform spacing; {self.spacing} starts at "
                "sigma_max"
            )
        if self.method == "diffpir-spectral" and self.prior_std is not None:
            raise ConfigError("prior_std goes with the method diffpir, not with diffpir-spectral")

    @property
    def starts_from_guess(self) -> bool:
        """Whether the image that sampling starts from matters: noise does not drown it."""
        start_told = self.first_timestep is not None or self.sigma_max is not None
        return start_told or self.method != "diffpir"

    def prior_precision(self, sigma_bar: float) -> float:
        """``rho_t`` over ``lambda sigma_n^2``, at the noise level ``sigma_bar_t``."""
        bound = self.prior_std
        return 1 / sigma_bar**2 + (1 / bound**2 if bound else 0)

    def scaled(self, factor: float, schedule: Schedule) -> SamplerConfig:
        """Between noise levels so many times as high, as far as the schedule has them.

        Where fewer timesteps lie between them than ``nfe``, so many evaluations are made, and two
        at least. Other spacings than ``karras`` and ``geometric`` know no such levels, and stay.
        """
        if not (self.sigma_max and self.sigma_min) or factor == 1:
            return self
        first = max(1, schedule.nearest(factor * self.sigma_max))
        last = min(first - 1, schedule.nearest(factor * self.sigma_min))
        levels = schedule.sigma_bar[[first, last]].tolist()
        nfe = min(self.nfe, first - last + 1)
        return replace(self, nfe=nfe, sigma_max=levels[0], sigma_min=levels[1])

    def timesteps(self, schedule: Schedule) -> list[int]:
        """The timesteps that these settings visit (:meth:`Schedule.timesteps`).

        Raises:
            ValueError: the schedule does not have them.
        """
        if self.sigma_max and self.sigma_min:
            return schedule.between(self.nfe, self.spacing, self.sigma_max, self.sigma_min)
        first = self.first_timestep
        if self.sigma_max:
            # Quadratic spacing has nfe different timesteps among some 2 nfe.
            least = min(2 * self.nfe, schedule.start)
            first = max(schedule.nearest(self.sigma_max), least)
        return schedule.timesteps(self.nfe, self.spacing, first)


def check_setting(name: str, value: object) -> None:
    """Whether a setting of :class:`SamplerConfig` may have that value.

    Raises:
        ConfigError: says what is expected.
    """
    good, expected = _SETTINGS[name]
    if not good(value):
        raise ConfigError(f"{name} must be {expected}, got {value!r}")


def _is_int(value: object) -> TypeGuard[int]:
    return isinstance(value, int) and not isinstance(value, bool)


def _is_finite(value: object) -> TypeGuard[float]:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _is_one_of(literal: object) -> tuple[Callable[[object], bool], str]:
    names = get_args(literal)
    return names.__contains__, f"{', '.join(map(repr, names[:-1]))} or {names[-1]!r}"


def _is_number(good: Callable[[float], bool], optional: bool = False) -> Callable[[object], bool]:
    return lambda value: (optional and value is None) or (_is_finite(value) and good(value))


_SETTINGS: dict[str, tuple[Callable[[object], bool], str]] = {
    "method": _is_one_of(Method),
    "nfe": (lambda nfe: _is_int(nfe) and nfe >= 2, "a whole number of 2 or more"),
    "lam": (_is_number(lambda lam: lam > 0), "a number above 0"),
    "zeta": (_is_number(lambda zeta: 0 <= zeta <= 1), "a number from 0 to 1"),
    "guidance": (_is_number(lambda guidance: guidance >= 0), "a number of 0 or more"),
    "relax": (_is_number(lambda relax: 0 <= relax < 1), "a number from 0 to below 1"),
    "spacing": _is_one_of(Spacing),
    "final": _is_one_of(Final),
    "first_timestep": (
        lambda t: t is None or (_is_int(t) and t >= 1),
        "a whole number of 1 or more",
    ),
    "sigma_max": (_is_number(lambda sigma: sigma > 0, optional=True), "a number above 0"),
    "sigma_min": (_is_number(lambda sigma: sigma > 0, optional=True), "a number above 0"),
    "prior_std": (_is_number(lambda std: std > 0, optional=True), "a number above 0"),
}

# As the paper's appendix reports them, and (code-...) as the authors' code sets them by default.
PRESETS: dict[str, SamplerConfig] = {
    "ffhq-sr4": SamplerConfig(lam=8.0, zeta=0.2),
    "ffhq-deblur-gaussian": SamplerConfig(lam=7.0, zeta=0.3),
    "ffhq-deblur-motion": SamplerConfig(lam=7.0, zeta=0.4),
    "ffhq-inpaint-box": SamplerConfig(lam=6.0, zeta=0.5),
    "ffhq-inpaint-random": SamplerConfig(lam=7.0, zeta=1.0),
    "imagenet-sr4": SamplerConfig(lam=9.0, zeta=0.5),
    "code-deblur": SamplerConfig(lam=7.0, zeta=0.3),
    "code-inpaint": SamplerConfig(nfe=20, lam=1.0, zeta=1.0),
}


def preset(name: str, presets: Mapping[str, SamplerConfig] = PRESETS) -> SamplerConfig:
    """The settings of that name, among the paper's or those given.

    Raises:
        ConfigError: there is none; the message lists those there are.
    """
    if name not in presets:
        raise ConfigError(f"no preset {name!r}; there are {', '.join(presets)}")
    return presets[name]
