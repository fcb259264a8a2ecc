"""How far a run is, reported while it runs."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass

from ray.exceptions import RayError

from pipeline.ledger import Ledger
from pipeline.pulse import end_silent

POLL_SECONDS = 1.0


@dataclass(frozen=True)
class Progress:
    """How far a job is.

    Attributes:
        rows: of the job.
        done: of them, by earlier runs too.
        failed: among those of this run.
        done_now: of this run.
        seconds: of this run.
    """

    rows: int
    done: int
    failed: int
    done_now: int
    seconds: float


class Reporting:
    """While it is entered, a thread reads the ledger, reports progress, and ends silent actors.

    Args:
        rows: of the job.
        done_before: of them, by earlier runs.
        ledger: of this run.
        report: called about once a second, and at the end of a run that ended well.
    """

    def __init__(
        self, rows: int, done_before: int, ledger: Ledger, report: Callable[[Progress], None]
    ):
        self.rows, self.done_before = rows, done_before
        self.ledger, self.report = ledger, report
        self.began = time.perf_counter()
        self.stop = threading.Event()
        self.thread = threading.Thread(target=self._watch, daemon=True)

    def __enter__(self) -> None:
        self.thread.start()

    def __exit__(self, *exc) -> None:
        self.stop.set()
        self.thread.join()
        if exc[0] is None:
            self._report()

    def _watch(self) -> None:
        while not self.stop.wait(POLL_SECONDS):
            try:
                self._report()
                end_silent(self.ledger)
            except RayError:
                continue  # the ledger's node died; the ledger comes again

    def _report(self) -> None:
        counts = self.ledger.read()
        done = self.done_before + counts.committed.rows + counts.found
        self.report(
            Progress(
                rows=self.rows,
                done=min(done, self.rows),
                failed=counts.committed.failed,
                done_now=counts.committed.rows,
                seconds=time.perf_counter() - self.began,
            )
        )
