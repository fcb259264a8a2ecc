"""The sampler's settings of a task whose job gives none."""

from __future__ import annotations

import math
from dataclasses import dataclass

from diffpir.config import PRESETS, SamplerConfig
from diffpir.schedule import Spacing


@dataclass(frozen=True)
class Defaults:
    """The sampler's settings of a job that gives none.

    Attributes:
        paper: for checkpoints such as the paper's: its nearest preset.
        builtin: for the embedded prior, with the method ``diffpir``.
        spectral: for priors with an error spectrum, with ``diffpir-spectral``, for some numbers of
            evaluations, the usual one first. Where there are none, that method is not the default.
        uncertainty_scale: how many times the deviation of several samples the error is, as measured
            with the embedded prior and the first of ``spectral``.
    """

    paper: SamplerConfig
    builtin: SamplerConfig
    spectral: tuple[SamplerConfig, ...] = ()
    uncertainty_scale: float = 1.0

    def spectral_settings(self, nfe: int | None) -> SamplerConfig:
        """Those of the number of evaluations nearest to ``nfe`` by ratio; None for the usual."""
        known = self.spectral or SPECTRAL
        if nfe is None:
            return known[0]
        return min(known, key=lambda config: abs(math.log(config.nfe / nfe)))


def spectral(
    nfe: int,
    *,
    spacing: Spacing = "geometric",
    relax: float,
    lam: float,
    sigma_max: float | None = None,
    sigma_min: float | None = None,
) -> SamplerConfig:
    """Settings of ``diffpir-spectral`` as tasks have them by default: all noise is fresh."""
    return SamplerConfig(
        method="diffpir-spectral",
        nfe=nfe,
        lam=lam,
        zeta=1.0,
        relax=relax,
        spacing=spacing,
        sigma_max=sigma_max,
        sigma_min=sigma_min,
    )


SPECTRAL = (
    spectral(20, sigma_max=1.4, sigma_min=0.05, relax=0.5, lam=2.0),
    spectral(10, sigma_max=1.4, sigma_min=0.05, relax=0.4, lam=2.0),
)
# Of a blur, which hides detail everywhere, and of tasks that have no settings of their own.
USUAL = Defaults(
    paper=PRESETS["ffhq-deblur-gaussian"],
    builtin=SamplerConfig(lam=5.0, zeta=1.0, prior_std=1.0),
)
