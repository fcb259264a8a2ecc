"""How long the network takes, apart from everything around it."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

import torch
from torch import Tensor


class Timed:
    """A denoiser that knows how long it took.

    A GPU works behind the program's back: there its own clock counts, and is read when asked for.
    """

    def __init__(self, denoise: Callable[..., Tensor]):
        self.denoise = denoise
        self.seconds = 0.0
        self.events: list[tuple] = []

    def __call__(self, x: Tensor, t: int, *labels: Sequence[int]) -> Tensor:
        if x.is_cuda:
            start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
            start.record()
            result = self.denoise(x, t, *labels)
            end.record()
            self.events.append((start, end))
            return result
        began = time.perf_counter()
        result = self.denoise(x, t, *labels)
        self.seconds += time.perf_counter() - began
        return result

    def taken(self) -> float:
        """Seconds since it was last asked."""
        if self.events:
            self.events[-1][1].synchronize()
            self.seconds += sum(start.elapsed_time(end) for start, end in self.events) / 1000
        seconds, self.seconds, self.events = self.seconds, 0.0, []
        return seconds
