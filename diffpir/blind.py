"""Experimental: the blur of a photograph, told from the photograph alone.

One parameter of a known family of kernels is found by maximum likelihood, as Lagendijk and Biemond
identify blurs (*Iterative Identification and Restoration of Images*, 1991): a scene is taken for
Gaussian with a spectrum that falls off with a power of the frequency, so that a frequency f of the
measurement has the variance

    S(f) = A |f|^-alpha |K(f)|^2 + sigma^2

with the kernel's transfer function K, and its log likelihood is ``-log S - |y(f)|^2 / S``
(Whittle). A and alpha are the scene's own and found along with the kernel. A scene with a rhythm
(bricks, cloth) is no such scene, and a weak blur of it is told wrong.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import numpy as np
from torch import Tensor

from diffpir.errors import EstimationError

Family = Literal["gaussian", "disk"]

SIDE, MIN_SIDE = 512, 64  # of the central part that is looked at, in pixels
LOWEST = 4  # periods in that part; below, the window's own spectrum shows
ALPHAS = np.linspace(1.6, 3.2, 9)
POWERS = np.geomspace(1e-8, 1e-1, 113)  # A, where pixels are on [0, 1]
ROUNDING = (1 / 255) ** 2 / 12  # variance that 8 bits add


def _gaussian(std: float, f: np.ndarray) -> np.ndarray:
    return np.exp(-2 * (np.pi * std * f) ** 2)


def _disk(radius: float, f: np.ndarray) -> np.ndarray:
    from scipy.special import j1  # takes half a second, and few jobs estimate a blur

    x = 2 * np.pi * radius * f
    gain: np.ndarray = 2 * j1(x) / x
    return gain


# |K| at frequencies above 0 (cycles per pixel), and the parameters in pixels that are tried.
FAMILIES: dict[str, tuple[Callable[[float, np.ndarray], np.ndarray], np.ndarray]] = {
    "gaussian": (_gaussian, np.geomspace(0.3, 8, 84)),
    "disk": (_disk, np.geomspace(0.6, 16, 100)),
}


def estimate_blur(y: Tensor, family: Family, noise_level: float) -> float:
    """Standard deviation of a Gaussian blur, or radius of a disk, in pixels.

    Args:
        y: (1, C, h, w) on [0, 1]; its channels are taken to be blurred alike.
        family: of the kernel.
        noise_level: sigma_n of y.

    Raises:
        EstimationError: the image is too small.
    """
    if min(y.shape[2:]) < MIN_SIDE:
        raise EstimationError(
            f"the blur cannot be told: {y.shape[3]} x {y.shape[2]} pixels are too few, "
            f"{MIN_SIDE} x {MIN_SIDE} are needed"
        )
    equal = bool((y[:, :1] == y).all())
    channels = 1 if equal else y.shape[1]
    f, power, count = _radial_spectrum(y[0, :channels].mean(dim=0).double().cpu().numpy())
    noise = noise_level**2 / channels + ROUNDING
    transfer, candidates = FAMILIES[family]

    def fitness(parameter: float) -> float:
        """The log likelihood, at the scene's best A and alpha."""
        gain = transfer(parameter, f) ** 2
        best = -np.inf
        for alpha in ALPHAS:
            s = POWERS[:, None] * gain * f**-alpha + noise
            best = max(best, -(count * (np.log(s) + power / s)).sum(axis=1).min())
        return best

    return float(max(candidates, key=fitness))


def _radial_spectrum(picture: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Of the central part, under a Hann window: for rings of frequencies their mean frequency
    (cycles per pixel), mean power, and how many frequencies they have.
    """
    h, w = (min(side, SIDE) for side in picture.shape)
    top, left = (picture.shape[0] - h) // 2, (picture.shape[1] - w) // 2
    part = picture[top : top + h, left : left + w]
    window = np.outer(np.hanning(h + 2)[1:-1], np.hanning(w + 2)[1:-1])
    part = part - (part * window).sum() / window.sum()
    power = np.abs(np.fft.fft2(part * window)) ** 2 / (window**2).sum()
    f = np.hypot(np.fft.fftfreq(h)[:, None], np.fft.fftfreq(w)[None])
    side = min(h, w)
    used = (f >= LOWEST / side) & (f <= 0.5)
    ring = (f[used] * side).astype(int)
    count = np.bincount(ring)
    filled = count > 0
    sums = [np.bincount(ring, values)[filled] for values in (f[used], power[used])]
    return sums[0] / count[filled], sums[1] / count[filled], count[filled]
