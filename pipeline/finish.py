"""The end of a job: nothing but the results is left in ``results/``, and a summary is written."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from manifests import storage
from pipeline.output import drivers, plan
from pipeline.output.drivers import Heartbeat
from pipeline.output.layout import Layout
from pipeline.output.parts import Tally
from pipeline.output.state import State

if TYPE_CHECKING:  # its import brings PyTorch, and those who only read a summary need none
    from pipeline.prepare import Run


@dataclass(frozen=True)
class Summary:
    """How a finished job ended; kept as ``summary.json``.

    Attributes:
        rows, ok, failed: numbers of rows.
        failures: error kind -> rows.
        busy_seconds: of all restorers, over all runs of the job.
        peak_memory, peak_device_memory: bytes of one restorer's process and of its GPU, at most.
        seconds, images_per_second: of the run that wrote this, and of the images it restored.
        finished: when, in UTC.
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


def clear(run: Run, state: State, heartbeat: Heartbeat) -> None:
    """Remove what killed runs have left behind, unless another driver is at work.

    Whatever has no name that a run gives is the user's, and stays.
    """
    state.empty_superseded()
    if heartbeat.others():
        return
    layout = run.job.layout
    for part in state.foreign:
        storage.remove(layout.part(part.name))
    planned = {shard.file for shard in run.shards}
    for name in storage.list_names(layout.plans):
        if plan.NAME.fullmatch(name) and name not in planned:
            storage.remove(layout.plan(name))
    for name in storage.list_names(layout.drivers):
        if drivers.NAME.fullmatch(name) and name != heartbeat.name:
            storage.remove(layout.driver(name))
    for folder in (layout.output, layout.results, layout.plans, layout.drivers):
        storage.remove_partials(folder)


def summarise(run: Run, state: State, seconds: float, done_now: int) -> Summary:
    """Count over all parts, and keep the summary."""
    total = Tally.total(state.tallies().values())
    summary = Summary(
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
    )
    data = json.dumps(asdict(summary), indent=1).encode()
    storage.write_bytes(run.job.layout.summary, data)
    return summary


def read_summary(layout: Layout) -> Summary | None:
    """The summary that a run wrote there; None where there is no whole one."""
    if not storage.exists(layout.summary):
        return None
    try:
        return Summary(**json.loads(storage.read_bytes(layout.summary)))
    except (ValueError, TypeError):  # damaged, or of another version: it can be counted again
        return None
