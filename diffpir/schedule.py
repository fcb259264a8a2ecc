"""The diffusion noise schedule: data, computed once in float64 and indexed afterwards."""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any, Literal, TypeVar, get_args

import numpy as np

from diffpir.errors import ConfigError

if TYPE_CHECKING:
    from torch import Tensor

Spacing = Literal["quad", "uniform", "karras", "geometric"]
ScheduleKind = Literal["linear", "scaled_linear", "cosine", "sigmoid"]
KINDS = get_args(ScheduleKind)
STEPS, BETA_START, BETA_END = 1000, 1e-4, 2e-2  # of Ho et al. 2020
MOST_STEPS = 100_000
MOST_SIGMA = 158.0  # sigma_bar where sampling starts; the usual schedule ends at 157.4
KARRAS_RHO = 3.0  # how much denser the low noise levels of `karras` are; its authors' own is 7
Images = TypeVar("Images", np.ndarray, "Tensor")


@dataclass(frozen=True, eq=False)
class Schedule:
    """The noise levels of a diffusion: a variance-preserving schedule of T steps.

    It is that of DDPM (Ho et al. 2020; section 3.1 of the DiffPIR paper). :meth:`linear` makes the
    usual one, and :meth:`of` the others.

    Attributes:
        alpha_bar: shape (T,), float64: ``prod(1 - beta)`` up to and including step t, in (0, 1). It
            falls, and its last value may be 0.
        kind: how the schedule was made: ``linear``, ...; ``table`` for given numbers.
        settings: the settings that it was made with, by name.

    Raises:
        ConfigError: ``alpha_bar`` is not such a table.

    Examples:
        >>> from diffpir import Schedule
        >>> schedule = Schedule.linear()
        >>> len(schedule.alpha_bar), round(float(schedule.sigma_bar[0]), 4)
        (1000, 0.01)
    """

    alpha_bar: np.ndarray
    kind: str = "table"
    settings: Mapping[str, float | bool] = field(default_factory=dict)

    def __post_init__(self) -> None:
        alpha_bar = np.asarray(self.alpha_bar, dtype=np.float64)
        object.__setattr__(self, "alpha_bar", alpha_bar)
        fault = _fault_of(alpha_bar)
        if fault:
            raise ConfigError(f"a noise schedule's alphas_cumprod {fault}")

    @cached_property
    def sigma_bar(self) -> np.ndarray:
        """(T,) float64, ``sqrt(1 - alpha_bar) / sqrt(alpha_bar)``.

        The standard deviation of the noise of ``x_t / sqrt(alpha_bar_t)``, images being on [-1, 1].
        """
        with np.errstate(divide="ignore"):
            sigma_bar: np.ndarray = np.sqrt(1.0 - self.alpha_bar) / np.sqrt(self.alpha_bar)
        return sigma_bar

    @classmethod
    def linear(
        cls, steps: int = STEPS, beta_start: float = BETA_START, beta_end: float = BETA_END
    ) -> Schedule:
        """Betas on a straight line from ``beta_start`` to ``beta_end`` (Ho et al. 2020)."""
        return cls.of("linear", steps=steps, beta_start=beta_start, beta_end=beta_end)

    @classmethod
    def of(
        cls,
        kind: ScheduleKind = "linear",
        *,
        steps: int = STEPS,
        beta_start: float | None = None,
        beta_end: float | None = None,
        zero_snr: bool = False,
    ) -> Schedule:
        """A schedule by its kind.

        Args:
            kind: ``linear``; ``scaled_linear``, the square of a line (Rombach et al. 2022);
                ``cosine`` (Nichol & Dhariwal 2021, eq. 17, betas of 0.999 at most); ``sigmoid``,
                a line's logistic curve from -6 to 6 (Xu et al. 2022, as diffusers has it).
            steps: T.
            beta_start, beta_end: first and last beta, 0.0001 and 0.02 if None; ``cosine`` has none.
            zero_snr: scaled so that alpha_bar ends at 0 (Lin et al. 2024, algorithm 1).

        Raises:
            ConfigError: a value is out of its range.
        """
        if kind not in get_args(ScheduleKind):
            raise ConfigError(f"schedule: kind {kind!r} is none of {', '.join(KINDS)}")
        if not 2 <= steps <= MOST_STEPS:
            raise ConfigError(f"schedule: steps must be from 2 to {MOST_STEPS}, got {steps}")
        settings: dict[str, float | bool] = {"steps": steps}
        if kind == "cosine":
            if (beta_start, beta_end) != (None, None):
                raise ConfigError("schedule: cosine takes no beta_start and beta_end")
            angle = (np.arange(steps + 1) / steps + 0.008) / 1.008 * np.pi / 2
            curve = np.cos(angle) ** 2
            betas = np.minimum(1 - curve[1:] / curve[:-1], 0.999)
        else:
            start = BETA_START if beta_start is None else beta_start
            end = BETA_END if beta_end is None else beta_end
            if not 0 < start <= end < 1:
                raise ConfigError(
                    f"schedule: expected 0 < beta_start <= beta_end < 1, got {start} and {end}"
                )
            settings |= {"beta_start": start, "beta_end": end}
            if kind == "linear":
                betas = np.linspace(start, end, steps, dtype=np.float64)
            elif kind == "scaled_linear":
                betas = np.linspace(start**0.5, end**0.5, steps, dtype=np.float64) ** 2
            else:
                curve = 1 / (1 + np.exp(-np.linspace(-6, 6, steps, dtype=np.float64)))
                betas = curve * (end - start) + start
        alpha_bar = np.cumprod(1.0 - betas)
        if zero_snr:
            settings["zero_snr"] = True
            alpha_bar = _ending_at_zero(alpha_bar)
        return cls(alpha_bar, kind, settings)

    @classmethod
    def of_table(cls, numbers: Any) -> Schedule:
        """From a table of T betas or of alphas_cumprod: which they are, their course tells.

        Raises:
            ConfigError: they are neither.
        """
        try:
            table = np.asarray(numbers, dtype=np.float64)
        except (TypeError, ValueError):
            raise ConfigError("a noise schedule is a table of numbers") from None
        are_betas = table.ndim == 1 and len(table) > 1 and table[0] <= table[-1]
        return cls(np.cumprod(1.0 - table) if are_betas else table)

    @classmethod
    def from_plain(cls, plain: Any) -> Schedule:
        """From what :attr:`plain` is.

        Raises:
            ConfigError: it is none.
        """
        if not isinstance(plain, dict):
            raise ConfigError("schedule: expected keys and values, such as {kind: linear}")
        if plain.keys() == {"alphas_cumprod"}:
            return cls.of_table(plain["alphas_cumprod"])
        try:
            return cls.of(**plain)
        except TypeError:
            raise ConfigError(f"schedule: unknown among its keys: {', '.join(plain)}") from None

    @property
    def plain(self) -> dict[str, Any]:
        """Plain values, as JSON takes them."""
        if self.kind == "table":
            return {"alphas_cumprod": self.alpha_bar.tolist()}
        return {"kind": self.kind, **self.settings}

    @property
    def words(self) -> str:
        """What it is, for people."""
        given = ", ".join(f"{name} {value}" for name, value in self.settings.items())
        course = f"sigma_bar {self.sigma_bar[0]:.3g} to {self.sigma_bar[-1]:.4g}"
        return f"{self.kind}, {given or f'steps {len(self)}'} ({course})"

    @cached_property
    def start(self) -> int:
        """The timestep that sampling starts at, if nothing else is asked for: in general the last.

        Schedules that go on to where next to nothing of an image is left are not followed there: a
        noise prediction says nothing of the image then, and what it is wrong by is magnified.
        """
        return int((self.sigma_bar <= MOST_SIGMA).sum()) - 1

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
            first: start there rather than at :attr:`start`, as if the schedule had first + 1 steps.

        Raises:
            ValueError: ``first`` outside the schedule, ``nfe`` below 2, or so near the number
                of steps that timesteps would repeat.
        """
        steps = (self.start if first is None else first) + 1
        if not 2 <= steps <= len(self):
            raise ValueError(
                f"first timestep must be from 1 to {len(self) - 1} in this schedule, got {first}"
            )
        if not self.alpha_bar[steps - 1]:
            raise ValueError(f"first timestep {first} is noise alone in this schedule: start lower")
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


def _fault_of(alpha_bar: np.ndarray) -> str | None:
    """What keeps numbers from being an alpha_bar."""
    if alpha_bar.ndim != 1 or not 2 <= len(alpha_bar) <= MOST_STEPS:
        return f"must be one row of 2 to {MOST_STEPS} numbers, got the shape {alpha_bar.shape}"
    inside = (alpha_bar > 0) & (alpha_bar < 1)
    if not inside[:-1].all() or not 0 <= alpha_bar[-1] < 1:
        return "must lie between 0 and 1 (the last may be 0)"
    if (np.diff(alpha_bar) > 0).any():
        return "must fall from step to step"
    return None


def _ending_at_zero(alpha_bar: np.ndarray) -> np.ndarray:
    root = np.sqrt(alpha_bar)
    scaled: np.ndarray = ((root - root[-1]) * root[0] / (root[0] - root[-1])) ** 2
    return scaled
