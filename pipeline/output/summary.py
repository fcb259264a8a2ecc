"""How a run ended; ``summary.json`` says so of a finished job."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime

from manifests import storage
from pipeline.output.layout import Layout
from pipeline.output.parts import Tally
from pipeline.output.result_warnings import result_warnings


@dataclass(frozen=True)
class Summary:
    """How a run ended.

    Attributes:
        rows, ok, failed: numbers of rows that the output holds.
        failures: error kind -> rows.
        busy_seconds: of all restorers, over all runs of the job.
        peak_memory, peak_device_memory: bytes of one restorer's process and of its GPU, at most.
        seconds, images_per_second: of the run that wrote this, and of the images it restored.
        finished: when, in UTC.
        warnings: what the user should hear of the results, in words.
        left: rows of the job that the output does not hold yet; 0 of a finished one.
    """

    rows: int
    ok: int
    failed: int
    failures: dict[str, int]
    busy_seconds: float
    peak_memory: int
    peak_device_memory: int
    seconds: float
    images_per_second: float
    finished: str
    warnings: list[str] = field(default_factory=list)
    left: int = 0


def summary_of(tallies: Iterable[Tally], seconds: float, done_now: int, left: int = 0) -> Summary:
    """Count over the tallies of all parts."""
    total = Tally.total(tallies)
    return Summary(
        rows=total.rows,
        ok=total.rows - total.failed,
        failed=total.failed,
        failures=total.failures,
        busy_seconds=round(total.seconds, 2),
        peak_memory=total.peak_memory,
        peak_device_memory=total.peak_device_memory,
        seconds=round(seconds, 2),
        images_per_second=round(done_now / seconds, 4),
        finished=datetime.now(UTC).isoformat(timespec="seconds"),
        warnings=list(result_warnings(total)),
        left=left,
    )


def write_summary(layout: Layout, summary: Summary) -> None:
    """Keep the summary of a finished job."""
    storage.write_bytes(layout.summary, json.dumps(asdict(summary), indent=1).encode())


def read_summary(layout: Layout) -> Summary | None:
    """The summary that a run wrote there; None where there is no whole one."""
    if not storage.exists(layout.summary):
        return None
    try:
        return Summary(**json.loads(storage.read_bytes(layout.summary)))
    except (ValueError, TypeError):  # damaged, or of another version: it can be counted again
        return None
