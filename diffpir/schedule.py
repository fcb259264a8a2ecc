"""The diffusion noise schedule: data, computed once in float64 and indexed afterwards."""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, TypeVar

import numpy as np

if TYPE_CHECKING:
    from torch import Tensor

Spacing = Literal["quad", "uniform", "karras", "geometric"]
KARRAS_RHO = 3.0  # how much denser the low noise levels of `karras` are; its authors' own is 7
Images = TypeVar("Images", np.ndarray, "Tensor")


@dataclass(frozen=True, eq=False)
class Schedule:
    """Variance-preserving noise schedule of T steps (DDPM; DiffPIR sec. 3.1).

    Attributes:
        alpha_bar: shape (T,), float64. ``prod(1 - beta)`` up to and including step t, in (0, 1).
        sigma_bar: shape (T,), float64. ``sqrt(1 - alpha_bar) / sqrt(alpha_bar)``: the standard
            deviation of the noise of ``x_t / sqrt(alpha_bar_t)``, images being on [-1, 1].
    """

    alpha_bar: np.ndarray
    sigma_bar: np.ndarray

    @classmethod
    def linear(
        cls, steps: int = 1000, beta_start: float = 1e-4, beta_end: float = 2e-2
    ) -> Schedule:
        """Betas on a straight line from ``beta_start`` to ``beta_end`` (Ho et al. 2020)."""
        if steps < 2 or not 0 < beta_start <= beta_end < 1:
            raise ValueError(
                f"a linear schedule needs steps >= 2 and 0 < beta_start <= beta_end < 1, "
                f"got steps={steps}, beta_start={beta_start}, beta_end={beta_end}"
            )
        alpha_bar = np.cumprod(1.0 - np.linspace(beta_start, beta_end, steps, dtype=np.float64))
        return cls(alpha_bar, np.sqrt(1.0 - alpha_bar) / np.sqrt(alpha_bar))

    def __len__(self) -> int:
        return len(self.alpha_bar)

    def diffuse(self, x0: Images, t: int, z: Images) -> Images:
        """``x_t = sqrt(abar_t) x0 + sqrt(1 - abar_t) z`` (Ho et al. 2020, eq. 4).

        ``x0``, an array or tensor, is on [-1, 1]; ``z`` is N(0, I) of its shape.
        """
        a = float(self.alpha_bar[t])
        x_t: Images = a**0.5 * x0 + (1 - a) ** 0.5 * z
        return x_t

    def nearest(self, sigma: float) -> int:
        """The timestep whose ``sigma_bar`` has the nearest logarithm."""
        return int(np.abs(np.log(self.sigma_bar) - np.log(sigma)).argmin())

    def between(self, nfe: int, spacing: Spacing, sigma_max: float, sigma_min: float) -> list[int]:
        """``nfe`` decreasing timesteps, nearest to noise levels from one to another.

        ``geometric`` noise levels have equal ratios; ``karras`` those of Karras et al. 2022
        (eq. 5), with rho 3. Where they are denser than timesteps are, neighbours stand in.

        Args:
            nfe: number of network evaluations, at least 2.
            spacing: ``karras`` or ``geometric``.
            sigma_max, sigma_min: of :attr:`sigma_bar`.

        Raises:
            ValueError: there are fewer than ``nfe`` timesteps between them, or they do not fall.
        """
        first, last = self.nearest(sigma_max), self.nearest(sigma_min)
        if not 2 <= nfe <= first - last + 1:
            raise ValueError(
                f"between the noise levels {sigma_max:g} and {sigma_min:g} are "
                f"{max(0, first - last + 1)} timesteps, {nfe} evaluations need as many (2 at least)"
            )
        share = np.linspace(0, 1, nfe)
        if spacing == "geometric":
            sigmas = sigma_max * (sigma_min / sigma_max) ** share
        else:
            high, low = sigma_max ** (1 / KARRAS_RHO), sigma_min ** (1 / KARRAS_RHO)
            sigmas = (high + share * (low - high)) ** KARRAS_RHO
        found = [self.nearest(sigma) for sigma in sigmas]
        for i in range(nfe - 2, -1, -1):  # from the end on, each above the next ...
            found[i] = max(found[i], found[i + 1] + 1)
        for i, t in enumerate(found):  # ... and none above the start
            found[i] = min(t, first - i)
        return found

    def strided(self, nfe: int) -> list[int]:
        """``nfe`` decreasing timesteps: every ``T // nfe``-th, down to 0 (as DDRM and others)."""
        if not 2 <= nfe <= len(self):
            raise ValueError(f"nfe must be from 2 to {len(self)}, got {nfe}")
        stride = len(self) // nfe
        return [i * stride for i in reversed(range(nfe))]

    def even(self, nfe: int) -> list[int]:
        """``nfe`` decreasing timesteps evenly from T - 1 to 0 (Nichol and Dhariwal 2021)."""
        if not 2 <= nfe <= len(self):
            raise ValueError(f"nfe must be from 2 to {len(self)}, got {nfe}")
        return [round(i * (len(self) - 1) / (nfe - 1)) for i in reversed(range(nfe))]

    def timesteps(self, nfe: int, spacing: Spacing = "quad", first: int | None = None) -> list[int]:
        """The decreasing timesteps at which the sampler evaluates the network, ending at 0.

        ``quad`` has ``nfe`` entries, dense near 0. ``uniform`` takes every ``T // nfe``-th step
        and then the last one: ``nfe + 1`` entries, or ``nfe`` if the last one is among them (the
        authors' convention).

        Args:
            nfe: number of network evaluations, at least 2.
            spacing: of the timesteps.
            first: start there rather than at T - 1, as if the schedule had first + 1 steps.

        Raises:
            ValueError: ``first`` outside the schedule, ``nfe`` below 2, or so near the number
                of steps that timesteps would repeat.
        """
        steps = len(self) if first is None else first + 1
        if not 2 <= steps <= len(self):
            raise ValueError(f"first timestep must be from 1 to {len(self) - 1}, got {first}")
        if not 2 <= nfe <= steps:
            raise ValueError(f"nfe must be from 2 to {steps}, got {nfe}")
        if spacing == "quad":
            rank = [int(j) for j in np.sqrt(np.linspace(0, steps**2, nfe))]
            rank[-1] -= 1
        elif spacing == "uniform":
            stride = steps // nfe
            rank = [i * stride for i in range(nfe)]
            if rank[-1] != steps - 1:
                rank.append(steps - 1)
        else:
            raise ValueError(f"spacing must be 'quad' or 'uniform', got {spacing!r}")
        sequence = [steps - 1 - j for j in rank]
        if any(s >= t for t, s in itertools.pairwise(sequence)):
            raise ValueError(f"{spacing} spacing would repeat timesteps at nfe={nfe}: take fewer")
        return sequence
