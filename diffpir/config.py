"""The sampler's settings, and the paper's own choices of them by name."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from diffpir.errors import ConfigError
from diffpir.schedule import Schedule, Spacing

LAST_TIMESTEP = 999  # of the schedule that priors are trained with; T - 1 in the paper
# Of the network and of tiling, here because whoever reads a job needs them, and not PyTorch.
Precision = Literal["auto", "fp32", "bf16", "fp16"]
TILE = 512  # side in pixels of what the network sees at once


@dataclass(frozen=True, kw_only=True)
class SamplerConfig:
    """Settings of DiffPIR (Zhu et al. 2023, algorithm 1).

    Attributes:
        nfe: network evaluations per image, from 2 (``uniform`` spacing may make one more, final
            ``state`` makes one fewer).
        lam: lambda, weight of the prior against the data, above 0. The paper's 1 to 25.
        zeta: share of fresh noise in each step, from 0 (deterministic) to 1.
        guidance: how far to go from the denoised image to the data step's; 1 is all the way.
        spacing: of the timesteps: ``quad`` (dense at low noise) or ``uniform``.
        final: ``denoised`` returns the last evaluation's clean image; ``state`` what the authors'
            code returns, with noise of standard deviation 0.005 (on [0, 1]) left in it.
        first_timestep: start at this timestep rather than at T - 1; None for T - 1.
        prior_std: bound of what an image may differ from x0, on [-1, 1], for the data step:
            ``rho_t = lambda sigma_n^2 (1 / sigma_bar_t^2 + 1 / prior_std^2)``; 1 is that of Song et
            al. 2023 (PiGDM). None is the paper's: no bound, so that the first steps of a blur with
            noise are of noise alone, which takes many evaluations, or much fresh noise, to forget.
    """

    nfe: int = 100
    lam: float = 7.0
    zeta: float = 0.3
    guidance: float = 1.0
    spacing: Spacing = "quad"
    final: Literal["denoised", "state"] = "denoised"
    first_timestep: int | None = None
    prior_std: float | None = None

    def __post_init__(self) -> None:
        first, bound = self.first_timestep, self.prior_std
        checks = {
            "nfe": (_is_int(self.nfe) and 2 <= self.nfe <= 1000, "a whole number, 2 to 1000"),
            "lam": (_is_finite(self.lam) and self.lam > 0, "a number above 0"),
            "zeta": (_is_finite(self.zeta) and 0 <= self.zeta <= 1, "a number from 0 to 1"),
            "guidance": (
                _is_finite(self.guidance) and self.guidance >= 0,
                "a number of 0 or more",
            ),
            "spacing": (self.spacing in ("quad", "uniform"), "'quad' or 'uniform'"),
            "final": (self.final in ("denoised", "state"), "'denoised' or 'state'"),
            "first_timestep": (
                first is None or (_is_int(first) and 1 <= first <= LAST_TIMESTEP),
                f"a whole number, 1 to {LAST_TIMESTEP}",
            ),
            "prior_std": (bound is None or (_is_finite(bound) and bound > 0), "a number above 0"),
        }
        for name, (good, expected) in checks.items():
            if not good:
                raise ConfigError(f"{name} must be {expected}, got {getattr(self, name)!r}")

    def prior_precision(self, sigma_bar: float) -> float:
        """``rho_t`` over ``lambda sigma_n^2``, at the noise level ``sigma_bar_t``."""
        bound = self.prior_std
        return 1 / sigma_bar**2 + (1 / bound**2 if bound else 0)

    def timesteps(self, schedule: Schedule | None = None) -> list[int]:
        """The timesteps that these settings visit (:meth:`Schedule.timesteps`)."""
        schedule = schedule or Schedule.linear()
        return schedule.timesteps(self.nfe, self.spacing, self.first_timestep)


def _is_int(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _is_finite(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


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
