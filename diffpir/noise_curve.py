"""How the noise of a measurement grows with light, told from the measurement alone.

The noise of photographs has the variance ``gaussian^2 + poisson x`` (Foi, Trimeche, Katkovnik,
Egiazarian, *Practical Poissonian-Gaussian Noise Modeling and Fitting for Single-Image Raw-Data*,
IEEE TIP 2008). As for one level (:mod:`diffpir.noise`), small windows without more texture than
noise explains span few dimensions, and what they have in the others is noise. The energy of that in
each window is a straight line in the window's light, fitted by least squares; the windows are
scaled by the line before, so that noise is equally strong in all, and so on.
"""

from __future__ import annotations

import numpy as np
from scipy.optimize import nnls
from torch import Tensor

from diffpir.errors import EstimationError
from diffpir.noise import (
    MARGIN,
    MIN_WINDOWS,
    ROUNDS,
    SIZES,
    SPREAD,
    differences_of,
    noise_dimensions,
    picture_of,
    windows_of,
)

FLOOR = (
    1e-4  # standard deviation, on [0, 1], that noise is taken to have at least while it is sought
)


def estimate_noise_curve(y: Tensor, mask: Tensor | None = None) -> tuple[float, float]:
    """``gaussian`` and ``poisson`` of noise with the variance ``gaussian^2 + poisson x``.

    Args:
        y, mask: as for :func:`diffpir.noise.estimate_noise`.

    Raises:
        EstimationError: too few windows are known and neither black nor white.
    """
    picture, known = picture_of(y, mask)
    for size in SIZES.get(len(picture), SIZES[3]):
        windows = windows_of(picture, known, size)
        free = np.all((windows > 0) & (windows < 1), axis=(1, 2))
        if free.sum() >= MIN_WINDOWS:
            return _fitted(windows, free, size)
    raise EstimationError(
        f"the noise cannot be told: only {free.sum()} windows of {size} x {size} pixels are known "
        f"and neither black nor white, {MIN_WINDOWS} are needed"
    )


def _fitted(windows: np.ndarray, free: np.ndarray, size: int) -> tuple[float, float]:
    differences = differences_of(size)
    gram = differences.T @ differences
    colours = windows.shape[1]
    expected, deviation = colours * np.trace(gram), np.sqrt(2 * colours * np.trace(gram @ gram))
    texture = np.einsum("ncp,pq,ncq->nc", windows, gram, windows, optimize=True)
    light = windows.mean(axis=2)
    room = np.minimum(light, 1 - light)
    line, chosen = np.array([1.0, 0.0]), free
    for _ in range(ROUNDS):
        variance = np.maximum(line[0] + line[1] * light, FLOOR**2)
        line, last = _line(windows[chosen], light[chosen], variance[chosen]), line
        if np.abs(line - last).max() <= 1e-3 * np.abs(last).max():
            break
        variance = np.maximum(line[0] + line[1] * light, FLOOR**2)
        lit = (room > MARGIN * np.sqrt(variance)).all(axis=1)
        if lit.sum() < MIN_WINDOWS:
            lit = free
        rough = (texture / variance).sum(axis=1)
        smoothest = np.partition(rough[lit], MIN_WINDOWS - 1)[MIN_WINDOWS - 1]
        chosen = lit & (rough <= max(expected + SPREAD * deviation, smoothest))
    return float(np.sqrt(line[0])), float(line[1])


def _line(windows: np.ndarray, light: np.ndarray, variance: np.ndarray) -> np.ndarray:
    """The variance at light 0, and its slope, fitted to windows (n, C, p).

    Args:
        windows: of p pixels.
        light, variance: of each, (n, C): the means, and what the noise was last taken for.
    """
    n, colours, pixels = windows.shape
    scaled = (windows / np.sqrt(variance)[:, :, None]).reshape(n, -1)
    scaled = scaled - scaled.mean(axis=0)
    values, vectors = np.linalg.eigh(scaled.T @ scaled / n)
    vectors = vectors[:, : noise_dimensions(values)]
    energy = ((scaled @ vectors) ** 2).reshape(-1)
    shares = (vectors**2).reshape(colours, pixels, -1).sum(axis=1)  # of each colour, in each
    columns = [((part / variance) @ shares).reshape(-1) for part in (np.ones_like(light), light)]
    design = np.stack(columns, axis=1)
    # Normal equations, scaled: two numbers of very different size.
    scale = np.sqrt((design**2).mean(axis=0))
    design = design / scale
    found, _ = nnls(design.T @ design / len(design), design.T @ energy / len(design))
    line: np.ndarray = found / scale
    return line
