"""What the numbers in images' files stand for: black is 0 here, and white is 1."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from pipeline.errors import RowError

if TYPE_CHECKING:
    from torch import Tensor

    from pipeline.spec.job import JobSpec

TYPES = {8: np.uint8, 16: np.uint16, 32: np.float32}  # that images are written in, by their bits
SHARE = 0.5  # of an image's values that may lie outside of a range: of more, it is another's range


@dataclass(frozen=True)
class Values:
    """How numbers are read, and written again.

    Attributes:
        range: those that are black and white, as the job says; None for the whole range of 8 or 16
            bits, or 0 and 1 of floating-point numbers.
        bits: of what is written: 8, 16, or 32 for floating-point numbers.
        kept: what is written has the range too; else black and white are as in any picture.
    """

    range: tuple[float, float] | None = None
    bits: int = 8
    kept: bool = False

    @classmethod
    def of(cls, spec: JobSpec) -> Values:
        return cls(spec.range, spec.picture.bits, spec.picture.holds_arrays)

    @property
    def written(self) -> tuple[float, float]:
        """The numbers that black and white are written as."""
        usual = (0.0, 1.0 if self.bits == 32 else 2.0**self.bits - 1)
        return self.range if self.range and self.kept else usual

    def eight_bits(self, numbers: np.ndarray) -> np.ndarray:
        """Numbers that were written, as 8 bits show them."""
        black, white = self.written
        shown = (numbers.astype(np.float64) - black) / (white - black) * 255
        return shown.round().clip(0, 255).astype(np.uint8)

    def read(self, numbers: np.ndarray, what: str = "image") -> np.ndarray:
        """Numbers of a file as float32, of which 0 is black and 1 is white.

        Values beyond are kept: a measurement's noise may lie there.

        Raises:
            RowError: ``bad_pixels``: the range is not known, or is not that of the file.
        """
        kind = numbers.dtype
        if self.range is None and kind in (np.uint8, np.uint16):
            return numbers.astype(np.float32) / np.iinfo(kind).max
        least, most = float(numbers.min()), float(numbers.max())
        found = f"the {what} holds {kind} numbers from {least:g} to {most:g}"
        if self.range is None:
            if kind.kind == "f" and least >= 0 and most <= 1:
                return numbers.astype(np.float32)
            raise RowError(
                f"{found}; say in the job which are black and white, "
                f"such as range: [{least:g}, {most:g}]",
                "bad_pixels",
            )
        black, white = self.range
        if least < black or most > white:
            outside = np.count_nonzero((numbers < black) | (numbers > white)) / numbers.size
            if outside > SHARE:
                raise RowError(
                    f"{found}, {outside:.0%} of them outside of the job's range, "
                    f"[{black:g}, {white:g}]",
                    "bad_pixels",
                )
        return ((numbers.astype(np.float64) - black) / (white - black)).astype(np.float32)

    def as_eight_bits(self, numbers: np.ndarray) -> np.ndarray:
        """Numbers that were read, as 8 bits show them."""
        return (self.read(numbers) * 255).round().clip(0, 255).astype(np.uint8)

    def rounded(self, x: Tensor) -> Tensor:
        """Images on [0, 1] as they are when they were written and are read again."""
        if self.bits == 32:
            return x
        black, white = self.written
        return ((black + x * (white - black)).round() - black) / (white - black)

    def stored(self, x: np.ndarray) -> np.ndarray:
        """Images on [0, 1] as the numbers that are written."""
        black, white = self.written
        numbers = black + x.astype(np.float64) * (white - black)
        return (numbers if self.bits == 32 else numbers.round()).astype(TYPES[self.bits])
