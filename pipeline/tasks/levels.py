"""Which levels a picture has, and the shades that became each of them."""

from __future__ import annotations

from typing import Literal

import numpy as np

from pipeline.errors import RowError

MAX_LEVELS = 64
CUT = tuple(2**bits for bits in range(1, 7))  # levels that are left where bits are cut off
TOLERANCE = 0.6  # of a file's own step, from a level
LEAST_SHARE = 0.5  # of the levels between the darkest and the lightest that a picture shows

Cells = Literal["nearest", "equal"]


def shades_of(
    values: list[np.ndarray], levels: int | None, cells: Cells | None
) -> list[np.ndarray]:
    """Of each channel (2, K): the lowest and the highest shade that became each value.

    Args:
        values: of each channel (K,), those that occur, rising, on [0, 1].
        levels, cells: as of :class:`~pipeline.tasks.dequantize.Dequantize`.

    Raises:
        RowError: ``bad_pixels``: there are too many values, or others than these levels.
    """
    together = np.unique(np.concatenate(values))
    if levels is None and (many := max(map(len, values))) > MAX_LEVELS:
        raise RowError(
            f"a channel of the picture has {many} levels, expected {MAX_LEVELS} at most; what was "
            "compressed or resized since has lost its levels",
            "bad_pixels",
        )
    grid = _grid(together, levels, cells)
    if levels is not None and grid is None:
        nearest = np.round(together * (levels - 1)) / (levels - 1)
        off = together[np.argmax(np.abs(together - nearest))]
        raise RowError(
            f"the picture has the value {off * 255:.3g} (of 255), which is none of {levels} even "
            "levels from black to white; leave levels out for those that the picture has",
            "bad_pixels",
        )
    found = []
    for one in values:
        own = grid or (_grid(one, None, cells) if len(one) > 1 else None)
        found.append(_between(one) if own is None else _even(one, *own))
    return found


def _grid(values: np.ndarray, levels: int | None, cells: Cells | None) -> tuple[int, Cells] | None:
    """The fewest even levels that these values are among; None if there are none."""
    eight = np.abs(values * 255 - np.round(values * 255)).max() < 0.01
    stored = values * (255 if eight else 65535)
    for count in [levels] if levels else range(2, MAX_LEVELS + 1):
        # Levels from black to white, or those that cutting bits off leaves.
        steps: dict[Cells, float] = {"nearest": (255 if eight else 65535) / (count - 1)}
        if count in CUT:
            steps["equal"] = (256 if eight else 65536) / count
        for kind, step in steps.items():
            index = np.round(stored / step)
            if index[-1] >= count or np.abs(stored - index * step).max() > TOLERANCE:
                continue
            shown = len(index) / (index[-1] - index[0] + 1)
            if levels or shown >= LEAST_SHARE:
                return count, cells or kind
    return None


def _even(values: np.ndarray, count: int, cells: Cells) -> np.ndarray:
    if cells == "equal":
        index = np.clip(np.floor(values * count + 1e-4), 0, count - 1)
        return np.stack([index, index + 1]) / count
    index = np.round(values * (count - 1))
    return np.clip(np.stack([index - 0.5, index + 0.5]) / (count - 1), 0, 1)


def _between(values: np.ndarray) -> np.ndarray:
    """Half-way to the neighbours; one value alone is known."""
    if len(values) == 1:
        return np.stack([values, values])
    middles = (values[1:] + values[:-1]) / 2
    return np.stack([np.append(0.0, middles), np.append(middles, 1.0)])
