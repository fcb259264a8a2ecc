"""Choosing victims: what is killed, stopped or replaced, and when within its work."""

from __future__ import annotations

import random
import signal
import time
from collections.abc import Callable, Sequence

from tests.chaos import processes
from tests.chaos.cluster import ChaosCluster
from tests.chaos.drivers import Driver
from tests.chaos.gateway import Gateway
from tests.chaos.workload import Workload

# Kind -> how often it comes, once all kinds have come.
WEIGHTS = {
    "driver": 3, "actor": 4, "writer": 4, "reader": 2, "worker": 1, "node": 2, "gateway": 3,
    "model": 1, "actor stopped": 1, "raylet stopped": 1,
}  # fmt: skip
HUNT_SECONDS = 15.0  # for a worker that does what is wanted
LISTING_SECONDS = 0.5  # between searches for new workers; between them only titles are read
LONGEST_TASK = 0.06  # seconds into a short task that it is killed
STOPPED_SECONDS = 3, 25  # shorter than Ray waits before it takes a node for dead
REPLACED_SECONDS = 2, 8
POLL_SECONDS = 0.002


def is_reader(title: str) -> bool:
    return "Read" in title


def is_writer(title: str) -> bool:
    return "Write" in title


def is_actor(title: str) -> bool:
    """One that holds a model: of Ray Data's actors, whose names say what they map."""
    return "MapWorker" in title or "Restorer" in title


class Killer:
    """Strikes at random, each kind in its turn.

    Args:
        kinds: among those of ``WEIGHTS``.
        gateway: of S3, where there is one.
        drivers: those that run now.
        workload: whose model is replaced.
        begun: whether the run has results, and so a record of its model.
    """

    def __init__(
        self,
        rng: random.Random,
        kinds: Sequence[str],
        cluster: ChaosCluster,
        gateway: Gateway | None,
        drivers: Callable[[], Sequence[Driver]],
        workload: Workload,
        begun: Callable[[], bool],
    ):
        self.rng, self.cluster, self.gateway, self.drivers = rng, cluster, gateway, drivers
        self.workload, self.begun = workload, begun
        self._later: list[tuple[float, Callable[[], None]]] = []  # what is put right, and when
        self._all = [kind for kind in kinds for _ in range(WEIGHTS[kind])]
        # Readers first: they are done soon after a driver's start, and later ones wait for rounds.
        self._next = sorted(rng.sample(list(kinds), len(kinds)), key=lambda kind: kind != "reader")

    def strike(self) -> tuple[str, bool]:
        """Kill something; returns its kind, and False if there was nothing of that kind."""
        if not self._next:
            self._next = self.rng.sample(self._all, len(self._all))
        kind = self._next.pop(0)
        strikes = {
            "driver": self._kill_driver,
            "actor": lambda: self._kill_worker(is_actor, 0),
            "writer": lambda: self._kill_worker(is_writer, LONGEST_TASK),
            "reader": lambda: self._kill_worker(is_reader, LONGEST_TASK),
            "worker": lambda: self._kill_worker(bool, 0),
            "node": self._kill_node,
            "gateway": self._kill_gateway,
            "model": self._replace_model,
            "actor stopped": lambda: self._stop(self._actors()),
            "raylet stopped": lambda: self._stop(self.cluster.raylets()),
        }
        done = strikes[kind]()
        if not done:
            self._next.append(kind)  # later
        return kind, done

    def tend(self) -> None:
        """Put right what was to be so for a while: nodes, models, stopped processes."""
        now = time.monotonic()
        due, self._later = (
            [item for item in self._later if (item[0] <= now) is over] for over in (True, False)
        )
        for _, action in due:
            action()

    def settle(self) -> None:
        """Put everything right at once."""
        due, self._later = self._later, []
        for _, action in due:
            action()

    def _after(self, seconds: tuple[float, float], action: Callable[[], None]) -> None:
        self._later.append((time.monotonic() + self.rng.uniform(*seconds), action))

    def _kill_driver(self) -> bool:
        drivers = self.drivers()
        return bool(drivers) and self.rng.choice(drivers).kill()

    def _kill_worker(self, wanted: Callable[[str], bool], longest: float) -> bool:
        """Wait for such a worker, then for a random moment, and kill it if it is still at it."""
        end = time.monotonic() + HUNT_SECONDS
        listed = 0.0
        while time.monotonic() < end and self.drivers():
            if time.monotonic() - listed > LISTING_SECONDS:
                pids, listed = list(self.cluster.workers()), time.monotonic()
            found = [pid for pid in pids if wanted(processes.title(pid))]
            if found:
                pid = self.rng.choice(found)
                time.sleep(self.rng.uniform(0, longest))
                if wanted(processes.title(pid)):
                    processes.kill(pid)
                    return True
            time.sleep(POLL_SECONDS)
        return False

    def _kill_node(self) -> bool:
        if not self.cluster.kill_node(self.rng):
            return False
        self._after((3, 15), self.cluster.add_node)
        return True

    def _kill_gateway(self) -> bool:
        return self.gateway is not None and self.gateway.kill(self.rng.uniform(1, 8))

    def _replace_model(self) -> bool:
        """Put other weights onto the model's path for a while, and let an actor load them."""
        if not self.begun() or not self.drivers() or (self.gateway and not self.gateway.is_up):
            return False
        self.workload.put_model(other=True)
        self._after(REPLACED_SECONDS, lambda: self.workload.put_model(other=False))
        self._kill_worker(is_actor, 0)
        return True

    def _actors(self) -> list[int]:
        return [pid for pid, title in self.cluster.workers().items() if is_actor(title)]

    def _stop(self, pids: Sequence[int]) -> bool:
        """Stop one of these processes for a while."""
        if not pids:
            return False
        pid = self.rng.choice(pids)
        processes.send(pid, signal.SIGSTOP)
        self._after(STOPPED_SECONDS, lambda: processes.send(pid, signal.SIGCONT))
        return True
