"""Metrics on Ray's own endpoint, where Prometheus finds them on each node.

They are kept by processes that live as long as the run does: those of a worker that ends are gone
with it.
"""

from __future__ import annotations

from ray.util.metrics import Counter, Histogram

from pipeline.output.parts import Tally

BATCH_SIZES: list[float] = [1, 2, 4, 8, 16, 32, 64]


class CommitMetrics:
    """What a run has committed, kept by its ledger."""

    def __init__(self, run: str):
        self.images = _counter("diffpir_images", "Rows committed.", run, "status")
        self.failures = _counter("diffpir_failures", "Rows that failed.", run, "kind")

    def add(self, tally: Tally) -> None:
        _increase(self.images, tally.rows - tally.failed, status="ok")
        _increase(self.images, tally.failed, status="error")
        for kind, count in tally.failures.items():
            _increase(self.failures, count, kind=kind)


class BatchMetrics:
    """What one restorer does."""

    def __init__(self, run: str):
        self.seconds = _counter("diffpir_network_seconds", "Time in the network.", run)
        self.sizes = Histogram(
            "diffpir_batch_size", "Images in a network call.", BATCH_SIZES, tag_keys=("run",)
        )
        self.sizes.set_default_tags({"run": run})

    def add(self, size: int, seconds: float) -> None:
        _increase(self.seconds, seconds)
        self.sizes.observe(size)


def _counter(name: str, description: str, run: str, *tags: str) -> Counter:
    counter = Counter(name, description, tag_keys=("run", *tags))
    counter.set_default_tags({"run": run})
    return counter


def _increase(counter: Counter, amount: float, **tags: str) -> None:
    if amount:  # Ray refuses nothing
        counter.inc(amount, tags)
