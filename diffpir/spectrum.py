"""How wrong a prior is, frequency by frequency: what the spectral data step weighs the data with.

A denoiser's error is far from white. It is large where pictures vary and the noise hides them: at
low frequencies and in the luma, a hundred times larger than at high frequencies and in the chroma.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import torch
from torch import Tensor

from diffpir.errors import ConfigError
from diffpir.schedule import Schedule

# Orthonormal rows: grey, red against blue, green against both.
OPPONENT = (
    (3**-0.5, 3**-0.5, 3**-0.5),
    (2**-0.5, 0.0, -(2**-0.5)),
    (6**-0.5, -2 * 6**-0.5, 6**-0.5),
)
SIGMAS = (0.02, 0.05, 0.1, 0.2, 0.4, 0.8, 1.6, 3.2, 8.0, 20.0)
CHANNELS = (1, 3)  # of the priors whose error is measured: grey, or colours
FREQUENCIES = tuple(np.geomspace(1 / 128, 0.5**0.5, 20).tolist())
LEAST_SIDE = 64  # of a picture, in pixels
MOST = 1000  # sigmas, or frequencies, of a table
LEAST_POWER, MOST_POWER = 1e-12, 1e9
KNOWN_SIZES = 4  # whose frequencies are kept
_BINS = 1024  # of the radial frequency, in which a table is looked up


@dataclass(frozen=True)
class PriorSpectrum:
    """Power spectra on [-1, 1]: of a denoiser's error at some noise levels, and of pictures.

    Power is ``|FFT(.)|^2`` over the number of pixels, so that white noise of variance v has power v
    at all frequencies. It depends on the radius of the frequency alone, and so holds for images of
    any size. That of a prior of colours is told in the channels :data:`OPPONENT` (C = 3), that of a
    grey one in its own (C = 1), and holds for each channel of an image.

    Attributes:
        sigmas: (K,) rising noise levels of ``x0 + sigma z``.
        frequencies: (F,) rising, in cycles per pixel, above 0.
        error: (K, C, F), of ``D(x0 + sigma z) - x0``.
        pictures: (C, F), of x0 less its mean colour.
    """

    sigmas: tuple[float, ...]
    frequencies: tuple[float, ...]
    error: tuple[tuple[tuple[float, ...], ...], ...]
    pictures: tuple[tuple[float, ...], ...]

    @classmethod
    def from_plain(cls, plain: Any) -> PriorSpectrum:
        """From what :meth:`plain` gave.

        Raises:
            ConfigError: it is none; the message says what is wrong.
        """
        if not isinstance(plain, dict) or plain.keys() != cls.__annotations__.keys():
            raise ConfigError(f"an error spectrum has the fields {', '.join(cls.__annotations__)}")
        arrays = {}
        for name, value in plain.items():
            try:
                arrays[name] = np.asarray(value, dtype=np.float64)
            except (ValueError, TypeError, OverflowError, RecursionError):
                raise ConfigError(f"error spectrum: {name} is no array of numbers") from None
        levels, count = arrays["sigmas"].size, arrays["frequencies"].size
        channels = 1 if arrays["pictures"].shape == (1, count) else 3
        shapes = {
            "sigmas": (levels,),
            "frequencies": (count,),
            "error": (levels, channels, count),
            "pictures": (channels, count),
        }
        for name, shape in shapes.items():
            if arrays[name].shape != shape or not 2 <= max(shape) <= MOST:
                raise ConfigError(
                    f"error spectrum: {name} has the shape {arrays[name].shape}, expected {shape}"
                )
            if not ((arrays[name] >= LEAST_POWER) & (arrays[name] <= MOST_POWER)).all():
                raise ConfigError(
                    f"error spectrum: {name} must be from {LEAST_POWER:g} to {MOST_POWER:g}"
                )
        for name in ("sigmas", "frequencies"):
            if not (np.diff(arrays[name]) > 0).all():
                raise ConfigError(f"error spectrum: {name} must rise")
        return cls(**{name: _tuples(array) for name, array in arrays.items()})

    def plain(self) -> dict[str, Any]:
        """Plain values, as JSON takes them, rounded to four digits."""
        return {
            name: [float(f"{value:.4g}") for value in getattr(self, name)]
            if name in ("sigmas", "frequencies")
            else np.vectorize(lambda v: float(f"{v:.4g}"))(getattr(self, name)).tolist()
            for name in self.__annotations__
        }

    @property
    def channels(self) -> int:
        """Of the prior, 1 or 3."""
        return len(self.pictures)

    def basis(self, x: Tensor) -> Tensor:
        """(C, C), the channels that the spectrum is told in, for images x (B, C, H, W)."""
        if self.channels == 1:
            return torch.eye(x.shape[1], dtype=x.dtype, device=x.device)
        return torch.tensor(OPPONENT, dtype=torch.float64).to(x)

    def of_error(self, sigma: float, height: int, width: int, like: Tensor) -> Tensor:
        """(C, H, W // 2 + 1) for ``rfft2``, the error's power at that noise level.

        Between the noise levels of the table its logarithm is interpolated; beyond them it is that
        of the nearest.
        """
        place = np.interp(math.log(sigma), np.log(self.sigmas), np.arange(len(self.sigmas)))
        below = min(int(place), len(self.sigmas) - 2)
        share = place - below
        curves = (1 - share) * self._log_error[below] + share * self._log_error[below + 1]
        return self._on_grid(curves, height, width, like)

    def of_pictures(self, height: int, width: int, like: Tensor) -> Tensor:
        """(C, H, W // 2 + 1) for ``rfft2``, the pictures' power."""
        return self._on_grid(self._curves(np.log(self.pictures)), height, width, like)

    @cached_property
    def _log_error(self) -> np.ndarray:
        return np.stack([self._curves(np.log(table)) for table in self.error])

    @cached_property
    def _known_bins(self) -> dict[tuple[int, int, torch.device], Tensor]:
        return {}

    def _curves(self, log_power: np.ndarray) -> np.ndarray:
        """(C, F) -> (C, bins of the radius)."""
        radius = np.linspace(0, 0.5**0.5, _BINS)
        radius = np.log(radius.clip(min=self.frequencies[0]))
        known = np.log(self.frequencies)
        return np.stack([np.interp(radius, known, curve) for curve in log_power])

    def _on_grid(self, curves: np.ndarray, height: int, width: int, like: Tensor) -> Tensor:
        bins = self._bins(height, width, like.device)
        power = torch.from_numpy(np.exp(curves)).to(like)
        return power[:, bins]

    def _bins(self, height: int, width: int, device: torch.device) -> Tensor:
        known: dict[tuple[int, int, torch.device], Tensor] = self.__dict__.setdefault(
            "_known_bins", {}
        )
        key = height, width, device
        if key not in known:
            if len(known) == KNOWN_SIZES:
                known.pop(next(iter(known)))
            rows = torch.fft.fftfreq(height, dtype=torch.float64)[:, None]
            columns = torch.fft.rfftfreq(width, dtype=torch.float64)
            radius = (rows**2 + columns**2).sqrt() / 0.5**0.5
            known[key] = (radius * (_BINS - 1)).round().to(torch.int32).to(device)
        return known[key]


def measure_spectrum(
    denoise: Callable[[Tensor, int], Tensor],
    pictures: Sequence[Tensor],
    *,
    schedule: Schedule,
    evaluations: int = 160,
    generator: torch.Generator | None = None,
    on_evaluation: Callable[[int, int], None] = lambda done, total: None,
) -> PriorSpectrum:
    """Measure a prior's error on clean pictures.

    Args:
        denoise: ``(x_t, t) -> x0``, on [-1, 1].
        pictures: (1 or 3, H, W) each, as the prior takes them, on [0, 1], of 64 pixels a side at
            least; large ones take longer.
        schedule: of the diffusion that ``denoise`` was trained for.
        evaluations: of the network, shared out evenly among the noise levels and the pictures.
        generator: of the noise; None for one of seed 0.
        on_evaluation: told after each evaluation how many are done, of how many.

    Raises:
        ValueError: fewer than two pictures, or one that is too small, or not grey or of colours.
    """
    if len(pictures) < 2 or any(min(p.shape[-2:]) < LEAST_SIDE for p in pictures):
        raise ValueError(f"two pictures or more are needed, of {LEAST_SIDE} pixels a side at least")
    channels = len(pictures[0])
    if channels not in CHANNELS or any(len(p) != channels for p in pictures):
        raise ValueError("all pictures must have 1 channel, or all of them 3")
    generator = generator or torch.Generator().manual_seed(0)
    each = max(1, evaluations // len(SIGMAS))
    scenes = [2 * picture - 1 for picture in pictures]
    order = _round_and_round(len(scenes))
    sigmas, tables, done = [], [], 0
    for sigma in SIGMAS:
        t = schedule.nearest(sigma)
        sigmas.append(float(schedule.sigma_bar[t]))
        total = _Radial(channels)
        for _ in range(each):
            x = scenes[next(order)][None]
            z = torch.randn(x.shape, generator=generator).to(x)
            total.add(denoise(schedule.diffuse(x, t, z), t).clamp(-1, 1) - x)
            done += 1
            on_evaluation(done, each * len(SIGMAS))
        tables.append(total.mean())
    natural = _Radial(channels)
    for scene in scenes:
        natural.add((scene - scene.mean(dim=(1, 2), keepdim=True))[None], constant=False)
    return PriorSpectrum.from_plain(
        {
            "sigmas": sigmas,
            "frequencies": FREQUENCIES,
            "error": np.stack(tables),
            "pictures": natural.mean(),
        }
    )


class _Radial:
    """The mean power at each of the frequencies' neighbourhoods."""

    def __init__(self, channels: int) -> None:
        self.power = np.zeros((channels, len(FREQUENCIES)))
        self.count = np.zeros(len(FREQUENCIES))

    def add(self, images: Tensor, constant: bool = True) -> None:
        """Images (B, C, H, W); ``constant``: their mean counts too."""
        height, width = images.shape[-2:]
        images = images.double()
        if images.shape[1] == len(OPPONENT):
            images = mixed(images, torch.tensor(OPPONENT, dtype=torch.float64).to(images))
        spectrum = torch.fft.fft2(images)
        power = ((spectrum.real**2 + spectrum.imag**2) / (height * width)).sum(dim=0)
        rows = np.fft.fftfreq(height)[:, None]
        radius = np.sqrt(rows**2 + np.fft.fftfreq(width) ** 2)
        edges = np.sqrt(np.array(FREQUENCIES[1:]) * FREQUENCIES[:-1])
        bins = np.searchsorted(edges, radius)
        counts = radius > (-1 if constant else 0)
        self.count += np.bincount(
            bins.ravel(), counts.ravel() * float(len(images)), minlength=len(FREQUENCIES)
        )
        for channel, values in enumerate(power.cpu().numpy()):
            self.power[channel] += np.bincount(
                bins.ravel(), (values * counts).ravel(), minlength=len(FREQUENCIES)
            )

    def mean(self) -> np.ndarray:
        """(C, F); frequencies that no picture has take their neighbour's."""
        seen = self.count > 0
        mean = self.power[:, seen] / self.count[seen]
        places = np.arange(len(FREQUENCIES))
        filled = [np.interp(places, places[seen], row) for row in mean]
        return np.stack(filled).clip(LEAST_POWER, MOST_POWER)


def mixed(x: Tensor, matrix: Tensor) -> Tensor:
    """(B, C, H, W) with its channels mixed by a matrix (C', C)."""
    return torch.einsum("dc,bchw->bdhw", matrix, x)


def _round_and_round(count: int) -> Iterator[int]:
    while True:
        yield from range(count)


def _tuples(array: np.ndarray) -> Any:
    return tuple(map(_tuples, array)) if array.ndim else float(array)
