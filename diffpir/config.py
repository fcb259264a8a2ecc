"""The sampler's settings, and the paper's own choices of them by name."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, fields, replace
from typing import Any, Literal, TypeGuard, get_args

from diffpir.errors import ConfigError
from diffpir.rivals import RIVALS
from diffpir.schedule import Schedule, Spacing

# Of the network and of tiling, here because whoever reads a job needs them, and not PyTorch.
Method = Literal[
    "diffpir", "diffpir-spectral", "hqs", "ddnm", "ddrm", "red-diff", "dds", "daps", "pigdm", "dps"
]
Final = Literal["denoised", "state"]
Estimate = Literal["sample", "mean", "best"]  # of several samples (diffpir.posterior)
Precision = Literal["auto", "fp32", "bf16", "fp16"]
BETWEEN = ("karras", "geometric")  # spacings from one noise level to another
TILE = 512  # side in pixels of what the network sees at once


@dataclass(frozen=True, kw_only=True)
class SamplerConfig:
    """The settings of the sampler: of DiffPIR, of ``diffpir-spectral``, or of another method.

    DiffPIR is algorithm 1 of Zhu et al. 2023 (arXiv 2305.08995), whose symbols these names follow.

    Attributes:
        method: ``diffpir`` is the paper's method. ``diffpir-spectral`` weighs the data against the
            prior frequency by frequency: it uses the measured spectrum of the prior's error
            (:class:`diffpir.spectrum.PriorSpectrum`) in place of sigma_bar_t^2, starts from the
            estimate that the image's own spectrum gives, and adds no more fresh noise than is
            missing to the noise level of a step. The other names are methods to compare
            with (:mod:`diffpir.methods`). They have fewer of these settings, with other usual
            values: ``preset("ddrm")`` is the choice of that method's authors.
        nfe: the number of network evaluations for each image, 2 or more. ``uniform`` spacing may
            make one more, and ``final="state"`` makes one fewer.
        lam: lambda, the weight of the prior against the data, above 0. The paper uses 1 to 25.
            For ``diffpir-spectral`` 4 is the weight that suits a Gaussian error.
        zeta: the share of fresh noise in each step, from 0 (deterministic) to 1.
        guidance: how far each step goes from the denoised image to the image of the data step, 0
            or more; 1 goes all the way.
        relax: the share of the previous data step's image that is kept in each denoised image, from
            0 to below 1 (under-relaxation). With fresh noise every evaluation smooths once more,
            and this counters it.
        spacing: how the timesteps are spread: ``quad`` (dense at low noise) or ``uniform`` over the
            timesteps; ``karras`` or ``geometric`` from the noise level ``sigma_max`` to
            ``sigma_min``.
        final: ``denoised`` returns the clean image of the last evaluation. ``state`` returns what
            the authors' code returns, in which noise of standard deviation 0.005 (on [0, 1]) is
            left.
        first_timestep: the timestep to start at, for ``quad`` and ``uniform``; None to start at
            ``sigma_max``, or at the schedule's own start.
        sigma_max, sigma_min: the noise levels sigma_bar (images on [-1, 1]) between which
            ``karras`` and ``geometric`` are spaced; the usual schedule has 0.01 to 157. ``quad``
            and ``uniform`` start at ``sigma_max``, or higher where ``nfe`` needs more timesteps.
        prior_std: a bound on how far an image may be from x0, on [-1, 1], in the data step:
            ``rho_t = lambda sigma_n^2 (1 / sigma_bar_t^2 + 1 / prior_std^2)``. 1 is the choice of
            Song et al. 2023 (PiGDM). None is the paper's, without a bound: the first steps of a
            blur with noise then consist of noise, and it takes many evaluations, or much fresh
            noise, to remove it.

    Raises:
        ConfigError: a value is out of its range, or two settings contradict each other.

    Examples:
        >>> from diffpir import SamplerConfig
        >>> SamplerConfig(nfe=20, lam=5.0, zeta=1.0, prior_std=1.0).nfe
        20
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

    def _check_rival(self) -> None:
        has = RIVALS[self.method].settings
        for setting in fields(self):
            name = setting.name
            given = getattr(self, name) != setting.default
            if given and name not in has | {"method", "nfe"}:
                raise ConfigError(
                    f"{name} does not go with the method {self.method}, whose settings are "
                    f"{', '.join(['nfe', *sorted(has)])}"
                )
            if name.startswith("sigma") and name in has and not given:
                raise ConfigError(f"{name} is missing, which the method {self.method} needs")
        if self.method == "daps" and self.nfe % 5:
            raise ConfigError(f"nfe must be a multiple of 5 for the method daps, got {self.nfe}")

    def _check_together(self) -> None:
        if self.method in RIVALS:
            self._check_rival()
            return
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

    def told(self) -> dict[str, Any]:
        """The settings by name; None where the method has no such setting."""
        settings = asdict(self)
        if self.method in RIVALS:
            unused = settings.keys() - RIVALS[self.method].settings - {"method", "nfe"}
            settings |= dict.fromkeys(unused)
        return settings

    def timesteps(self, schedule: Schedule) -> list[int]:
        """The timesteps that these settings visit (:meth:`Schedule.timesteps`).

        Of ``hqs`` and ``daps``, which go by noise levels, there are none.

        Raises:
            ValueError: the schedule does not have them.
        """
        if self.method in ("hqs", "daps"):
            return []
        if self.method == "dps":
            return schedule.even(self.nfe)
        if self.method in RIVALS:
            return schedule.strided(self.nfe)
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

_ETA = 0.85**2  # zeta of the methods whose authors take an eta of 0.85
# As the paper's appendix reports them, (-20, -noiseless) as others recorded them with the authors'
# code, (code-...) as that code sets them by default; and the methods to compare with, as their
# authors' code does.
PRESETS: dict[str, SamplerConfig] = {
    "ffhq-sr4": SamplerConfig(lam=8.0, zeta=0.2),
    "ffhq-sr4-20": SamplerConfig(nfe=20, lam=8.0, zeta=0.4),
    "ffhq-sr4-noiseless": SamplerConfig(lam=6.0, zeta=0.3),
    "ffhq-sr4-noiseless-20": SamplerConfig(nfe=20, lam=9.0, zeta=0.2),
    "ffhq-deblur-gaussian": SamplerConfig(lam=7.0, zeta=0.3),
    "ffhq-deblur-gaussian-20": SamplerConfig(nfe=20, lam=8.0, zeta=0.5),
    "ffhq-deblur-gaussian-noiseless": SamplerConfig(lam=12.0, zeta=0.4),
    "ffhq-deblur-gaussian-noiseless-20": SamplerConfig(nfe=20, lam=15.0, zeta=0.5),
    "ffhq-deblur-motion": SamplerConfig(lam=7.0, zeta=0.4),
    "ffhq-deblur-motion-20": SamplerConfig(nfe=20, lam=7.0, zeta=0.8),
    "ffhq-deblur-motion-noiseless": SamplerConfig(lam=7.0, zeta=0.9),
    "ffhq-deblur-motion-noiseless-20": SamplerConfig(nfe=20, lam=25.0, zeta=1.0),
    "ffhq-inpaint-box": SamplerConfig(lam=6.0, zeta=0.5),
    "ffhq-inpaint-random": SamplerConfig(lam=7.0, zeta=1.0),
    "ffhq-inpaint-random-20": SamplerConfig(nfe=20, lam=1.0, zeta=1.0),
    "imagenet-sr4": SamplerConfig(lam=9.0, zeta=0.5),
    "code-deblur": SamplerConfig(lam=7.0, zeta=0.3),
    "code-inpaint": SamplerConfig(nfe=20, lam=1.0, zeta=1.0),
    # 49 / 255 on [0, 1]; the lowest level is the schedule's own.
    "hqs": SamplerConfig(method="hqs", nfe=8, lam=0.23, sigma_max=2 * 49 / 255, sigma_min=0.01),
    "ddnm": SamplerConfig(method="ddnm", zeta=_ETA),
    "ddrm": SamplerConfig(method="ddrm", nfe=20, zeta=_ETA),
    "red-diff": SamplerConfig(method="red-diff", lam=0.25),
    "dds": SamplerConfig(method="dds", nfe=50, lam=1.0, zeta=_ETA),
    "daps": SamplerConfig(method="daps", nfe=1000),
    "pigdm": SamplerConfig(method="pigdm", zeta=1.0),
    "dps": SamplerConfig(method="dps", nfe=1000, guidance=0.3),
}


def preset(name: str, presets: Mapping[str, SamplerConfig] = PRESETS) -> SamplerConfig:
    """Look up a set of sampler settings by its name.

    The names in :data:`diffpir.PRESETS` are the settings of the paper's experiments
    (``ffhq-deblur-gaussian``, ``ffhq-sr4``, ...), and those of the other methods (``ddrm``, ...).

    Args:
        name: of the settings.
        presets: the table to look in; the usual one is :data:`diffpir.PRESETS`.

    Raises:
        ConfigError: there is no such name; the message lists the names that there are.

    Examples:
        >>> from diffpir import preset
        >>> preset("ffhq-sr4").lam
        8.0
    """
    if name not in presets:
        raise ConfigError(f"no preset {name!r}; there are {', '.join(presets)}")
    return presets[name]
