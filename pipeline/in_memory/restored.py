"""What became of an image that was restored in memory, and how a notebook shows it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from pipeline.in_memory.html import Shown, page_of

METRICS = ("psnr", "psnr_y", "ssim", "baseline_psnr")


@dataclass(frozen=True, eq=False, repr=False)
class RestoredImage:
    """One restored image, which shows itself in a notebook: before, after, and the settings.

    Attributes:
        image: (H, W) or (H, W, C), the restored image; uint8, or as ``picture`` asked for.
        before: (h, w) or (h, w, c) uint8, the measurement as it was given, or as the mode
            ``benchmark`` made it.
        reference: (H, W) or (H, W, C) uint8, the true image, if it is known.
        outcome: what a job writes into the columns of its results, such as ``residual``,
            ``noise_level`` and ``hidden``; without those that are empty.
        settings: with which the image was restored.
        uncertainty: (H, W) uint16, the standard deviation at each pixel as several samples tell it,
            65535 being 1; None unless it was asked for.
        samples: (K, H, W) or (K, H, W, C), all samples; None unless they were asked for.

    Examples:
        >>> import numpy as np
        >>> from pipeline import RestoredImage
        >>> black = np.zeros((8, 8), np.uint8)
        >>> RestoredImage(black, black, None, {"residual": 1.0}, {"task": "denoise"})
        <RestoredImage 8 x 8, denoise, residual 1>
    """

    image: np.ndarray
    before: np.ndarray
    reference: np.ndarray | None
    outcome: Mapping[str, Any]
    settings: Mapping[str, Any]
    uncertainty: np.ndarray | None = None
    samples: np.ndarray | None = None

    @property
    def metrics(self) -> dict[str, float]:
        """PSNR in dB and SSIM against the reference; empty where there is none.

        ``baseline_psnr`` is the PSNR of the measurement itself.
        """
        return {name: self.outcome[name] for name in METRICS if name in self.outcome}

    @property
    def residual(self) -> float | None:
        """How far the image is from the measurement, in units of its noise; near 1 is expected.

        For ``jpeg``, ``declip`` and ``dequantize`` it is the share of the values that are honoured.
        """
        return self.outcome.get("residual")

    def __repr__(self) -> str:
        height, width = self.image.shape[:2]
        numbers = [f"{name} {value:.4g}" for name, value in self._numbers().items()]
        return f"<RestoredImage {width} x {height}, {', '.join([self.settings['task'], *numbers])}>"

    def _repr_html_(self) -> str:
        return page_of([self._shown()])

    def _shown(self) -> Shown:
        """What a notebook shows."""
        pictures = {"before": self.before, "after": self.image}
        if self.reference is not None:
            pictures["reference"] = self.reference
        return Shown(pictures, self._numbers(), self.settings)

    def _numbers(self) -> dict[str, float]:
        found = self.metrics
        return found if self.residual is None else {**found, "residual": self.residual}


class RestoredImages(list[RestoredImage]):
    """Restored images in the order in which they were given; a notebook shows the first 16.

    Examples:
        >>> from pipeline import restore_images
        >>> restore_images([]).images
        []
    """

    @property
    def images(self) -> list[np.ndarray]:
        """The restored images as arrays."""
        return [result.image for result in self]

    def _repr_html_(self) -> str:
        return page_of([result._shown() for result in self])
