"""The diffusion noise schedule: data, computed once in float64 and indexed afterwards."""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, TypeVar

import numpy as np

if TYPE_CHECKING:
    from torch import Tensor

Spacing = Literal["quad", "uniform"]
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
