"""How far a run is, reported while it runs."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import ray
from ray.exceptions import RayError

from pipeline.errors import JobStopped
from pipeline.flow.ledger import Ledger
from pipeline.flow.pulse import end_silent

POLL_SECONDS = 1.0
ANSWER_SECONDS = 20.0  # for the ledger's
LOST_SECONDS = 60.0


@dataclass(frozen=True)
class Progress:
    """How far a job is.

    Attributes:
        rows: that the run is about: of the job, or those that are restored first.
        done: of them, by earlier runs too.
        failed: among those of this run.
        done_now: of this run.
        seconds: of this run.
        failures: error kind -> rows of this run.
        last_error: of the row of this run that failed last; empty if none did.
    """

    rows: int
    done: int
    failed: int
    done_now: int
    seconds: float
    failures: Mapping[str, int] = field(default_factory=dict)
    last_error: str = ""


def run_reporting(
    work: Callable[[], None],
    ledger: Ledger,
    rows: int,
    done_before: int,
    report: Callable[[Progress], None],
) -> None:
    """Do the work in a thread, while this one reports progress and ends silent actors.

    Args:
        work: the flow; it may raise.
        ledger: of this run.
        rows: that it is about.
        done_before: of them, by earlier runs.
        report: called about once a second, and at the end of work that ended well.

    Raises:
        JobStopped: all nodes of the cluster are gone.
        Exception: what the work raised.
    """
    began = time.perf_counter()

    def tell() -> None:
        counts = ledger.read(ANSWER_SECONDS)
        done = done_before + counts.committed.rows + counts.found
        report(
            Progress(
                rows=rows,
                done=min(done, rows),
                failed=counts.committed.failed,
                done_now=counts.committed.rows,
                seconds=time.perf_counter() - began,
                failures=counts.committed.failures,
                last_error=counts.last_error,
            )
        )

    errors: list[BaseException] = []

    def run() -> None:
        try:
            work()
        except BaseException as e:
            errors.append(e)

    # Ray waits for ever for a node in place of one that is gone: what waits must not be in charge.
    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    nodes = Nodes()
    while True:
        thread.join(POLL_SECONDS)
        if not thread.is_alive():
            break
        try:
            tell()
            end_silent(ledger)
        except RayError:  # the ledger's node died; the ledger comes again, if there are others
            nodes.check()
    if errors:
        raise errors[0]
    tell()


class Nodes:
    """Whether the cluster has any left."""

    def __init__(self) -> None:
        self.seen = time.monotonic()

    def check(self) -> None:
        """Raise JobStopped if there has been none for a while."""
        try:
            if any(node["Alive"] for node in ray.nodes()):
                self.seen = time.monotonic()
        except Exception:  # the head does not answer
            pass
        if time.monotonic() - self.seen > LOST_SECONDS:
            raise JobStopped(f"Ray has had no live node for {LOST_SECONDS:.0f} s")
