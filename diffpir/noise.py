"""How strong the noise of a measurement is, told from the measurement alone.

Small windows of a scene are alike: their covariance has a few large eigenvalues, and the rest is
the variance of the noise (Chen, Zhu, Heng, *An Efficient Statistical Method for Image Noise Level
Estimation*, ICCV 2015). Two things make that hold for textured pictures too. A window spans all
colours, since detail is alike in them where noise is not. And windows with more texture than noise
explains are left out, as in Liu, Tanaka, Okutomi (*Single-Image Noise Level Estimation for Blind
Denoising*, IEEE TIP 2013). A blur only makes the scene smoother, and so the estimate better.

The noise must be white, the same everywhere and independent between colours. That of a JPEG file,
or of a picture that was enlarged or filtered since, is not, and comes out too low. With one colour
alone, fine texture is taken for noise: weak noise (0.01) of grey pictures comes out too high.
"""

from __future__ import annotations

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from torch import Tensor

from diffpir.errors import EstimationError

SIZES = {1: (7, 5, 3), 3: (3, 2)}  # of windows by their colours: the first that will do
CANDIDATES, WINDOWS = 2**20, 40_000  # places looked at, and windows used, at most
MIN_WINDOWS = 300
MARGIN = 2.0  # standard deviations that a window's mean keeps from black and white
SPREAD = 4.5  # standard deviations of the texture that noise alone would show
ROUNDS = 8


def estimate_noise(y: Tensor, mask: Tensor | None = None) -> float:
    """Standard deviation of white Gaussian noise, on [0, 1].

    Windows that touch a hidden pixel do not count, nor those so dark or light that noise would be
    cut off at 0 or 1. Time and memory are bounded, whatever the size of the image.

    Args:
        y: (1, C, h, w) on [0, 1], a measurement of one image. Three equal channels are one.
        mask: (h, w), (1 or C, h, w) or (1, 1 or C, h, w); 1 where a value is known. None: all are.

    Raises:
        EstimationError: too few windows are known and neither black nor white.
    """
    picture, known = picture_of(y, mask)
    sizes = SIZES.get(len(picture), SIZES[3])
    for size in sizes:
        windows = windows_of(picture, known, size)
        free = np.all((windows > 0) & (windows < 1), axis=(1, 2))
        if free.sum() >= MIN_WINDOWS:
            return _estimate(windows, free, size)
    raise EstimationError(
        f"the noise level cannot be told: only {free.sum()} windows of {size} x {size} pixels are "
        f"known and neither black nor white, {MIN_WINDOWS} are needed"
    )


def picture_of(y: Tensor, mask: Tensor | None) -> tuple[np.ndarray, np.ndarray | None]:
    """(C, h, w) and (h, w) bool, of the arguments of :func:`estimate_noise`."""
    if y.shape[1] == 3 and bool((y[:, :1] == y).all()):
        y = y[:, :1]
    known = None
    if mask is not None:  # a window spans all colours
        known = mask.reshape(-1, *mask.shape[-2:]).ne(0).all(dim=0).cpu().numpy()
    return y[0].cpu().numpy(), known


def windows_of(picture: np.ndarray, known: np.ndarray | None, size: int) -> np.ndarray:
    """(n, C, size * size) float64, at different places, the same ones each time."""
    rows, columns = (max(side - size + 1, 0) for side in picture.shape[1:])
    count = rows * columns
    if not count:
        return np.empty((0, len(picture), size * size))
    rng = np.random.default_rng(0)
    places = np.arange(min(count, CANDIDATES))
    if count > CANDIDATES:  # one of each stretch of places
        places = ((places + rng.random(CANDIDATES)) * (count / CANDIDATES)).astype(np.int64)
    row, column = np.divmod(places, columns)
    if known is not None:
        whole = sliding_window_view(known, (size, size))[row, column].all(axis=(1, 2))
        row, column = row[whole], column[whole]
    chosen = rng.permutation(len(row))[:WINDOWS]
    views = sliding_window_view(picture, (size, size), axis=(1, 2))
    windows = views[:, row[chosen], column[chosen]].astype(np.float64)
    return windows.reshape(len(picture), -1, size * size).transpose(1, 0, 2)


def _estimate(windows: np.ndarray, free: np.ndarray, size: int) -> float:
    """sigma, refined with the windows that the last estimate finds fit."""
    differences = differences_of(size)
    gram = differences.T @ differences
    colours = windows.shape[1]
    # Of noise alone with sigma = 1: mean and standard deviation of the sum of squared differences.
    expected, deviation = colours * np.trace(gram), np.sqrt(2 * colours * np.trace(gram @ gram))
    texture = np.einsum("ncp,pq,ncq->n", windows, gram, windows, optimize=True)
    mean = windows.mean(axis=2)
    room = np.minimum(mean, 1 - mean).min(axis=1)
    sigma = _of_covariance(windows[free])
    for _ in range(ROUNDS):
        last = sigma
        lit = room > MARGIN * sigma
        if lit.sum() < MIN_WINDOWS:
            lit = free
        limit = sigma**2 * (expected + SPREAD * deviation)
        smoothest = np.partition(texture[lit], MIN_WINDOWS - 1)[MIN_WINDOWS - 1]
        sigma = _of_covariance(windows[lit & (texture <= max(limit, smoothest))])
        if abs(sigma - last) <= 1e-3 * last:
            break
    return sigma


def differences_of(size: int) -> np.ndarray:
    """Matrix from a window to the differences of its neighbouring pixels, across and down."""
    step = np.diff(np.eye(size), axis=0)
    return np.concatenate([np.kron(np.eye(size), step), np.kron(step, np.eye(size))])


def _of_covariance(windows: np.ndarray) -> float:
    """sigma, from the smallest eigenvalues (algorithm 1)."""
    flat = windows.reshape(len(windows), -1)
    flat = flat - flat.mean(axis=0)
    values = np.linalg.eigvalsh(flat.T @ flat / len(flat)).clip(0)
    return float(np.sqrt(values[: noise_dimensions(values)].mean()))


def noise_dimensions(values: np.ndarray) -> int:
    """How many of the smallest eigenvalues, which rise, are of noise: mean and median agree."""
    for count in range(len(values), 1, -1):
        if values[:count].mean() <= np.median(values[:count]):
            break
    return count
