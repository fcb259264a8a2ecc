"""What the processes of this machine take of its cores, from Linux's /proc."""

from __future__ import annotations

import os
import threading
import time
from collections import Counter
from pathlib import Path

SECONDS = 2.0  # between looks: each costs some milliseconds itself
TICKS = os.sysconf("SC_CLK_TCK")


class Processes(threading.Thread):
    """Keeps an eye on all processes from its start to :meth:`end`."""

    def __init__(self):
        super().__init__(daemon=True)
        self.ended = threading.Event()
        self.looks: list[tuple[float, dict[int, float]]] = []
        self.titles: dict[int, str] = {}

    def run(self) -> None:
        while not self.ended.wait(SECONDS):
            self.looks.append((time.time(), self._look()))

    def end(self) -> None:
        self.ended.set()
        self.join()

    def cores(self, first: float, last: float) -> Counter[str]:
        """Title of a process -> CPU seconds per second, over the looks between two times."""
        within = [look for look in self.looks if first <= look[0] <= last]
        if len(within) < 2:
            raise RuntimeError(f"fewer than two looks in {last - first:.1f} s: give it more work")
        (began, before), (ended, after) = within[0], within[-1]
        taken: Counter[str] = Counter()
        for pid, seconds in after.items():
            taken[self.titles[pid]] += (seconds - before.get(pid, 0.0)) / (ended - began)
        return taken

    def _look(self) -> dict[int, float]:
        seconds = {}
        for folder in Path("/proc").glob("[0-9]*"):
            pid = int(folder.name)
            try:
                fields = (folder / "stat").read_text().rpartition(")")[2].split()
                title = (folder / "cmdline").read_bytes().replace(b"\0", b" ").decode()
            except (OSError, UnicodeDecodeError):  # it has ended
                continue
            if title.startswith("ray::"):  # what Ray's workers do just now
                title = title.split("(")[0].split(".")[0].strip()
            self.titles[pid] = title or "kernel"
            seconds[pid] = (int(fields[11]) + int(fields[12])) / TICKS
        return seconds
