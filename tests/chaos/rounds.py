"""Rounds of chaos: run the job, kill, run it again until it has finished, compare."""

from __future__ import annotations

import random
import re
import time
from dataclasses import dataclass
from pathlib import Path

from tests.chaos.cluster import ChaosCluster
from tests.chaos.compare import compare, part_names, read_results
from tests.chaos.drivers import Driver
from tests.chaos.gateway import Gateway
from tests.chaos.killers import Killer
from tests.chaos.tally import Tally
from tests.chaos.workload import Workload

FINISHED = (0, 3)  # exit codes of a finished job: all rows restored; some failed
REPLACED = "model_digest was"  # refused, as other weights lay on the model's path
STOPPED = 1  # for trouble with storage or cluster: to be run again
RIVALS = 0.12  # chance of a second driver, with each first one and with each kill
# Of the driver itself; those that Ray passes on from its processes are indented or prefixed.
TRACEBACK = re.compile(r"^Traceback \(most recent call last\)", re.M)
POLL_SECONDS = 0.1
LISTING_SECONDS = 5.0  # between looks at the progress


class Stuck(Exception):
    """A job makes no progress; the text says all that is known."""


@dataclass(frozen=True)
class Settings:
    """How long and how hard.

    Attributes:
        kills: wanted.
        kinds: of kills.
        seconds: after which no more kills follow; the job under way is finished all the same.
        pause: mean seconds between kills.
        patience: seconds without progress that mean that a job is stuck. After a third of it
            nothing is killed any more until it goes on.
    """

    kills: int
    kinds: tuple[str, ...]
    seconds: float
    pause: float
    patience: float


class Chaos:
    """All rounds; :meth:`run` returns when enough was killed and the last job has finished."""

    def __init__(
        self,
        settings: Settings,
        workload: Workload,
        cluster: ChaosCluster,
        gateway: Gateway | None,
        rng: random.Random,
        tally: Tally,
    ):
        self.settings, self.workload, self.rng, self.tally = settings, workload, rng, tally
        self.cluster, self.gateway = cluster, gateway
        self.drivers: list[Driver] = []
        self.started = 0
        self.killer = Killer(
            rng, settings.kinds, cluster, gateway, self._live, workload, lambda: self.parts > 0
        )

    def run(self) -> None:
        """Raises Stuck."""
        try:
            began = time.monotonic()
            self.expected = self._quiet()
            self.tally.quiet_seconds = time.monotonic() - began
            self.end = time.monotonic() + self.settings.seconds
            self.next_kill = self._soon()
            while self._wants_more() or not self.tally.rounds:
                self._round()
        finally:
            self.killer.settle()
            for driver in self.drivers:
                driver.kill()

    def _wants_more(self) -> bool:
        done = self.tally.kills.total() >= self.settings.kills
        return not done and time.monotonic() < self.end

    def _quiet(self) -> list[dict]:
        """The results of a run that nothing happens to."""
        job, output = self.workload.job("quiet")
        self._begin(output)
        self._start(job)
        while not self._reap():
            self._check_progress()
            if not self.drivers:
                raise Stuck("the quiet run failed: " + "; ".join(self.tally.faults))
            time.sleep(POLL_SECONDS)
        rows = read_results(output)
        self.tally.add(compare(rows, rows, self.workload.ids), len(rows), output)
        return rows

    def _round(self) -> None:
        job, output = self.workload.job(f"round-{self.tally.rounds}")
        self.killer.settle()  # a run that begins must not know another model
        self._begin(output)
        finished = False
        while not finished or self.drivers:
            if self._reap():
                finished = True
                self._compare(output)  # even while another driver is at work
            if not finished and not self.drivers:
                self._start(job)
                self._maybe_start_rival(job)
            if not finished and self._may_kill():
                self._maybe_start_rival(job)
                self._strike()
            self.killer.tend()
            self._check_progress()
            time.sleep(POLL_SECONDS)
        self._compare(output)  # after the last one has cleared up
        self.tally.rounds += 1

    def _begin(self, output: str) -> None:
        self.output, self.parts = output, 0
        self.progressed = self.looked = time.monotonic()

    def _start(self, job: Path) -> None:
        log = self.workload.folder / f"driver-{self.started}.log"
        self.started += 1
        self.drivers.append(Driver(job, log, self.cluster.address))

    def _maybe_start_rival(self, job: Path) -> None:
        if len(self._live()) == 1 and self.rng.random() < RIVALS:
            self._start(job)
            self.tally.rivals += 1

    def _live(self) -> list[Driver]:
        return [driver for driver in self.drivers if driver.code is None]

    def _reap(self) -> bool:
        """Count the drivers that have ended; whether one of them has finished the job."""
        finished = False
        for driver in [driver for driver in self.drivers if driver.code is not None]:
            self.drivers.remove(driver)
            if driver.killed and driver.code < 0:
                continue
            self.tally.exits[driver.code] += 1
            words = f"{driver.log.name}, exit code {driver.code}: {driver.tail()}"
            if driver.code in FINISHED:
                finished = True
            elif driver.code == STOPPED or REPLACED in driver.text():
                self.tally.stops.append(words)
            else:
                self.tally.fault(words)
            if driver.code not in FINISHED and TRACEBACK.search(driver.text()):
                self.tally.fault(f"a traceback in {words}")
        return finished

    def _compare(self, output: str) -> None:
        if self.gateway:
            self.gateway.wait()
        rows = read_results(output)
        self.tally.add(compare(self.expected, rows, self.workload.ids), len(rows), output)

    def _may_kill(self) -> bool:
        calm = time.monotonic() - self.progressed > self.settings.patience / 3
        return self._wants_more() and not calm and time.monotonic() > self.next_kill

    def _strike(self) -> None:
        kind, done = self.killer.strike()
        if not done:
            self.tally.missed[kind] += 1
            return
        self.tally.kills[kind] += 1
        print(f"{self.tally.kills.total():4} {kind}", flush=True)
        self.next_kill = self._soon()

    def _soon(self) -> float:
        return time.monotonic() + self.rng.uniform(0.1, 1.9) * self.settings.pause

    def _check_progress(self) -> None:
        now = time.monotonic()
        if now - self.looked > LISTING_SECONDS and (not self.gateway or self.gateway.is_up):
            self.looked = now
            parts = len(part_names(self.output))
            if parts > self.parts:
                self.parts, self.progressed = parts, now
        if now - self.progressed > self.settings.patience:
            raise Stuck(self._known())

    def _known(self) -> str:
        for driver in self.drivers:
            driver.dump_stack()
        return "\n".join(
            [
                f"no new part in {self.output} for {self.settings.patience:.0f} s",
                f"parts: {[name.rpartition('/')[2] for name in part_names(self.output)]}",
                *(f"worker {pid}: {text}" for pid, text in self.cluster.workers().items()),
                *(f"{driver.log.name}:\n{driver.text()[-6000:]}" for driver in self.drivers),
            ]
        )
