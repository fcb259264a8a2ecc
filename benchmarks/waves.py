"""Jobs of very many shards: the driver's memory, and the pause between two waves of shards.

    python benchmarks/waves.py [--shards 10000 100000] [--seconds 120] [--wave 20000] [--json FILE]

Each job has shards of one row, and next to nothing to compute (see ``throughput.py``). It is
stopped so many seconds after its first results. Told are, for each: the seconds of planning, and
from then to the first results; the driver's memory when it has planned, at the first results, and
at most; the shards per second after the first results; and the longest pause between the last
result of a wave and the first of the next, where the run got so far (choose a small ``--wave``).
"""

from __future__ import annotations

import argparse
import contextlib
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from throughput import job, make_files
from timing import parser, write

import pipeline.run
from pipeline.flow.progress import Progress
from pipeline.output.layout import Layout
from pipeline.output.parts import parse


class Enough(BaseException):
    """The run has been watched for long enough."""


class Watch:
    """Is told of a run's progress, and ends it some seconds after its first results."""

    def __init__(self, seconds: float):
        self.seconds = seconds
        self.began = time.perf_counter()
        self.found: dict[str, float] = {}
        self.first: tuple[float, int] | None = None

    def __call__(self, progress: Progress) -> None:
        now = time.perf_counter()
        rss = memory_mib("VmRSS")
        if not self.found:
            self.found = {"plan_seconds": now - self.began - progress.seconds, "planned_mib": rss}
        if progress.done_now and self.first is None:
            self.first = now, progress.done_now
            self.found |= {"first_seconds": progress.seconds, "first_mib": rss}
        if self.first is not None and now > self.first[0]:
            seconds, done = now - self.first[0], progress.done_now - self.first[1]
            self.found |= {"shards_per_second": done / seconds, "done": progress.done_now}
            self.found["peak_mib"] = memory_mib("VmHWM")
            if seconds >= self.seconds:
                raise Enough


def memory_mib(name: str) -> int:
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) >> 10 for line in lines if line.startswith(name))


def longest_pause(output: str, wave: int) -> float | None:
    """Seconds from the last result of a wave to the first of the next; None within the first."""
    ends: dict[int, list[float]] = {}
    for file in Path(Layout(output).results).glob("*.parquet"):
        if part := parse(file.name):
            ends.setdefault(part.shard // wave, []).append(file.stat().st_mtime)
    pauses = [min(ends[i + 1]) - max(ends[i]) for i in ends if i + 1 in ends]
    return max(pauses, default=None)


def run(folder: Path, shards: int, seconds: float, wave: int) -> dict:
    pipeline.run.WAVE = wave
    spec = job(folder, shards, 1)
    watch = Watch(seconds)
    with contextlib.suppress(Enough):
        pipeline.run.run_job(spec, watch)
    return watch.found | {"pause_seconds": longest_pause(spec.output, wave)}


def main() -> None:
    options = parser(__doc__)
    options.add_argument("--shards", type=int, nargs="+", default=[10**4, 10**5])
    options.add_argument("--seconds", type=float, default=120)
    options.add_argument("--wave", type=int, default=pipeline.run.WAVE)
    options.add_argument("--child", help=argparse.SUPPRESS)
    given = options.parse_args()
    if given.child:
        found = run(Path(given.child), given.shards[0], given.seconds, given.wave)
        Path(given.child, "found.json").write_text(json.dumps(found))
        return
    measured = {}
    for shards in given.shards:
        with tempfile.TemporaryDirectory(prefix="diffpir-waves-") as folder:
            make_files(Path(folder))
            same = ("--seconds", given.seconds, "--wave", given.wave, "--child", folder)
            command = [sys.executable, __file__, "--shards", shards, *same]
            subprocess.run(list(map(str, command)), check=True, stdout=subprocess.DEVNULL)
            measured[shards] = json.loads(Path(folder, "found.json").read_text())
        told = (f"{k} {v if v is None else round(v, 1)}" for k, v in measured[shards].items())
        print(f"shards {shards}, wave {given.wave}:", *told, sep=" ", flush=True)
    write(given.json, {"waves": measured})


if __name__ == "__main__":
    main()
