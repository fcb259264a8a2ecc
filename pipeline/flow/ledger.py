"""What a run knows while it runs: work in hand, deaths of processes, and what was committed.

The ledger is one small Ray actor, made by the driver and gone with it. A step says what it begins
and what it has ended; work begun and never ended is work whose process died. The counts are of
this run only: when a driver is killed its workers die too, and that is no fault of their rows.
"""

from __future__ import annotations

import time
from collections import Counter
from dataclasses import dataclass, field, replace

import ray

from pipeline.flow.metering import CommitMetrics
from pipeline.output.parts import Tally


@dataclass(frozen=True)
class Counts:
    """What this run has done so far.

    Attributes:
        committed: tally over the parts that this run created.
        found: rows of shards that another driver was faster with.
        last_error: of the committed row that failed last, after its id; empty if none did.
    """

    committed: Tally = field(default_factory=Tally)
    found: int = 0
    last_error: str = ""


class _Ledger:
    # ``ray.method`` alone changes nothing: it tells type checkers what a handle's methods take.

    def __init__(self, run: str):
        self.begun: Counter[tuple] = Counter()
        self.counts = Counts()
        self.metrics = CommitMetrics(run)
        self.pulses: dict[tuple[str, int], float] = {}  # node and pid -> when it last said so

    @ray.method
    def begin(self, work: tuple) -> int:
        """Note that the work begins; returns how often it began before and never ended."""
        self.begun[work] += 1
        return self.begun[work] - 1

    @ray.method
    def end(self, work: tuple) -> None:
        self.begun.pop(work, None)

    @ray.method
    def commit(self, tally: Tally, error: str) -> None:
        total = Tally.total([self.counts.committed, tally])
        self.counts = replace(
            self.counts, committed=total, last_error=error or self.counts.last_error
        )
        self.metrics.add(tally)

    @ray.method
    def found(self, rows: int) -> None:
        self.counts = replace(self.counts, found=self.counts.found + rows)

    @ray.method
    def read(self) -> Counts:
        return self.counts

    @ray.method
    def pulse(self, node: str, pid: int) -> None:
        """Note that a process lives."""
        self.pulses[node, pid] = time.monotonic()

    @ray.method
    def silent(self, seconds: float) -> list[tuple[str, int]]:
        """Forget the processes that last said that they live so long ago, and return them."""
        now = time.monotonic()
        found = [process for process, last in self.pulses.items() if now - last > seconds]
        for process in found:
            del self.pulses[process]
        return found


class Ledger:
    """A handle of a run's ledger, for the driver and all of its workers.

    Args:
        run: its id.
    """

    def __init__(self, run: str):
        self.run = run
        # It must outlive any worker and take no CPU from them. On the driver's node it dies with
        # the driver; should it die alone, it begins again with empty counts, which only costs
        # more tries.
        here = {"ray.io/node-id": ray.get_runtime_context().get_node_id()}
        options = {
            "num_cpus": 0,
            "max_restarts": -1,
            "max_task_retries": -1,
            "label_selector": here,
            "fallback_strategy": [{"label_selector": {}}],
        }
        self._actor = ray.remote(_Ledger).options(**options).remote(run)

    def begin(self, work: tuple) -> int:
        return ray.get(self._actor.begin.remote(work))

    def end(self, work: tuple) -> None:
        ray.get(self._actor.end.remote(work))

    def commit(self, tally: Tally, error: str = "") -> None:
        ray.get(self._actor.commit.remote(tally, error))

    def found(self, rows: int) -> None:
        ray.get(self._actor.found.remote(rows))

    def read(self, seconds: float | None = None) -> Counts:
        """What was done; a RayError where no answer came in so many seconds."""
        return ray.get(self._actor.read.remote(), timeout=seconds)

    def pulse(self, node: str, pid: int) -> None:
        ray.get(self._actor.pulse.remote(node, pid))

    def silent(self, seconds: float) -> list[tuple[str, int]]:
        return ray.get(self._actor.silent.remote(seconds))
