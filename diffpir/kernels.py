"""Blur kernels (point-spread functions)."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor


def gaussian_kernel(size: int, std: float) -> np.ndarray:
    """Make a Gaussian blur kernel.

    It is the authors' kernel: a single bright pixel at index ``size // 2``, filtered with a
    Gaussian that is cut at 4 standard deviations and reflected at the border. So its sum is 1 for
    any size.

    Args:
        size: side in pixels, 1 or more.
        std: standard deviation of the Gaussian in pixels, above 0.

    Returns:
        (size, size) float64, with the sum 1.

    Raises:
        ValueError: ``size`` is below 1, or ``std`` is not above 0.

    Examples:
        >>> from diffpir import gaussian_kernel
        >>> kernel = gaussian_kernel(9, 1.5)
        >>> kernel.shape, round(float(kernel.sum()), 6)
        ((9, 9), 1.0)
    """
    if size < 1 or not 0 < std < np.inf:
        raise ValueError(f"a Gaussian kernel wants size >= 1 and std > 0, got {size} and {std}")
    reach = int(4 * std + 0.5)
    offsets = np.arange(-reach, reach + 1)
    weights = np.exp(-0.5 * (offsets / std) ** 2)
    # Reflection repeats the border pixel: indices run 0 ... n-1, n-1 ... 0, and so on.
    folded = (size // 2 + offsets) % (2 * size)
    folded = np.minimum(folded, 2 * size - 1 - folded)
    profile = np.bincount(folded, weights / weights.sum(), minlength=size)
    return np.outer(profile, profile)


def bicubic_kernel(factor: int) -> np.ndarray:
    """(k, k) float64, unit sum: the kernel of MATLAB's antialiased bicubic reduction.

    With it, convolution and keeping the upper-left pixel of each block equals ``imresize`` away
    from the border. Its centroid lies (factor - 1) / 2 pixels before its origin, since a reduced
    pixel looks at the middle of its block.
    """
    reach = 2 * factor + (factor - 1) // 2 + 1
    offsets = np.arange(-reach, reach + 1)
    profile = cubic((offsets + (factor - 1) / 2) / factor)
    profile /= profile.sum()
    return np.outer(profile, profile)


def cubic(x: np.ndarray) -> np.ndarray:
    """Keys' cubic convolution with a = -1/2 (Keys 1981, eq. 15), as MATLAB uses it."""
    x = np.abs(x)
    near = 1.5 * x**3 - 2.5 * x**2 + 1
    far = -0.5 * x**3 + 2.5 * x**2 - 4 * x + 2
    return np.where(x <= 1, near, np.where(x < 2, far, 0.0))


def motion_kernel(size: int, intensity: float, rng: np.random.Generator) -> np.ndarray:
    """Draw the blur kernel of a camera that moves and shakes at random.

    A point starts with a random velocity. Its direction keeps turning, smoothly by inertia and
    abruptly at random moments. The path is drawn with antialiasing, scaled to fit, and centred on
    its centroid.

    Args:
        size: side in pixels, 3 or more.
        intensity: how nervous the motion is, from 0 (a straight stroke) to 1 (a scribble).
        rng: the generator of every random choice.

    Returns:
        (size, size) float64, with the sum 1.

    Raises:
        ValueError: ``size`` or ``intensity`` is out of its range.

    Examples:
        >>> import numpy as np
        >>> from diffpir import motion_kernel
        >>> kernel = motion_kernel(25, 0.5, np.random.default_rng(0))
        >>> kernel.shape, round(float(kernel.sum()), 6)
        ((25, 25), 1.0)
    """
    if size < 3 or not 0 <= intensity <= 1:
        raise ValueError(
            f"a motion kernel wants size >= 3 and intensity from 0 to 1, got {size}, {intensity}"
        )
    steps = 40 * size
    angle = rng.uniform(0, 2 * np.pi)
    turning = rng.normal(0, 1)
    # Curvature is a random walk pulled back to zero; jerks are rare and large.
    headings = np.empty(steps)
    for i in range(steps):
        turning += -4 * turning / steps + 12 * intensity * rng.normal() / np.sqrt(steps)
        angle += intensity * turning / steps * 4
        if rng.random() < 4 * intensity / steps:
            angle += rng.normal(0, np.pi / 2)
        headings[i] = angle
    path = np.cumsum(np.stack([np.sin(headings), np.cos(headings)], axis=1), axis=0)
    path -= path.mean(axis=0)
    # The longest reach fills between half of the kernel and nearly all of it.
    path *= (size / 2 - 1.5) * rng.uniform(0.5, 1.0) / np.abs(path).max()
    kernel = _splat(path + size // 2, size)
    kernel /= kernel.sum()
    return kernel


def stroke_kernel(length: float, angle: float) -> np.ndarray:
    """(k, k) float64, unit sum, k odd: a straight motion at constant speed.

    Args:
        length: of the way in pixels, above 0.
        angle: of its direction in degrees, counter-clockwise from the horizontal as the picture
            is seen (rows count downwards).

    Raises:
        ValueError: ``length`` is not above 0.
    """
    if not 0 < length < np.inf:
        raise ValueError(f"a stroke's length must be above 0, got {length}")
    reach = int(length / 2) + 1
    count = int(np.ceil(32 * length))
    way = ((np.arange(count) + 0.5) / count - 0.5) * length
    turned = np.deg2rad(angle)
    points = np.stack([-np.sin(turned) * way, np.cos(turned) * way], axis=1)
    kernel = _splat(points + reach, 2 * reach + 1)
    kernel /= kernel.sum()
    return kernel


def disk_kernel(radius: float) -> np.ndarray:
    """(k, k) float64, unit sum, k odd: a point out of focus, an evenly lit disk.

    Each pixel has the share of its area that the disk covers. ``radius`` is in pixels, above 0.

    Raises:
        ValueError: it is not.
    """
    if not 0 < radius < np.inf:
        raise ValueError(f"a disk's radius must be above 0, got {radius}")
    reach = int(np.ceil(radius - 0.5)) if radius > 0.5 else 0
    places = np.arange(-reach, reach + 1)
    fine = (places[:, None] + (np.arange(32) + 0.5) / 32 - 0.5)[None]  # lines through each column
    half = np.sqrt(np.clip(radius**2 - fine**2, 0, None))  # of the disk's chord along a line
    rows = places[:, None, None]
    covered = np.minimum(half, rows + 0.5) - np.maximum(-half, rows - 0.5)
    kernel: np.ndarray = np.clip(covered, 0, None).mean(axis=-1)
    kernel /= kernel.sum()
    return kernel


def _splat(points: np.ndarray, size: int) -> np.ndarray:
    """Add each point (row, column) to its four nearest pixels, bilinearly."""
    kernel = np.zeros((size, size))
    corner = np.floor(points).astype(int)
    part = points - corner
    for dr in (0, 1):
        for dc in (0, 1):
            share = np.abs(1 - dr - part[:, 0]) * np.abs(1 - dc - part[:, 1])
            rows = np.clip(corner[:, 0] + dr, 0, size - 1)
            columns = np.clip(corner[:, 1] + dc, 0, size - 1)
            np.add.at(kernel, (rows, columns), share)
    return kernel


def centroid(kernel: Tensor) -> Tensor:
    """(B, kh, kw) -> (B, 2): centre of mass relative to the origin (size // 2), in pixels.

    A kernel that sums to 0, such as a derivative's, has none: the origin itself stands for it.
    """
    mass = kernel.sum(dim=(-2, -1))
    without = mass.abs() <= 1e-6 * kernel.abs().sum(dim=(-2, -1))
    mass = torch.where(without, torch.inf, mass)
    axes = []
    for dim, other in ((-2, -1), (-1, -2)):
        size = kernel.shape[dim]
        offset = torch.arange(size, dtype=kernel.dtype, device=kernel.device) - size // 2
        axes.append((kernel.sum(dim=other) * offset).sum(dim=-1) / mass)
    return torch.stack(axes, dim=-1)
