"""A Ray cluster of several nodes on this machine, whose nodes and workers can be killed."""

from __future__ import annotations

import contextlib
import os
import random
import shutil
import tempfile
from pathlib import Path

from ray._private.ray_constants import PROCESS_TYPE_RAYLET
from ray.cluster_utils import Cluster

from tests.chaos import processes

NODES = 3  # beside the head, which is never killed: with it Ray forgets all that it knows
NODE = {"num_cpus": 1, "object_store_memory": 150 << 20}
# Parts of a node that have such titles too; without them it dies.
AGENTS = ("ray::DashboardAgent", "ray::RuntimeEnvAgent")


class ChaosCluster:
    """Head and nodes, from entering to leaving.

    Everything of it lies in a folder of its own, so that nobody else's ``ray.init()`` finds it.

    Args:
        logs: where Ray's logs are kept at the end, or None.
    """

    def __init__(self, logs: Path | None = None):
        self.logs = logs
        self.folder = Path(tempfile.mkdtemp(prefix="chaos-", dir="/tmp"))  # sockets: short paths

    def __enter__(self) -> ChaosCluster:
        os.environ["RAY_TMPDIR"] = str(self.folder)
        self._cluster = Cluster(
            initialize_head=True, head_node_args={**NODE, "include_dashboard": False}
        )
        for _ in range(NODES):
            self._cluster.add_node(**NODE)
        return self

    def __exit__(self, *exc) -> None:
        everything = processes.descendants(self._raylets())
        self._cluster.shutdown()
        for pid in everything:
            processes.kill(pid)
        if self.logs:
            with contextlib.suppress(OSError, shutil.Error):  # sockets, files that vanish
                logs = self.folder / "ray" / "session_latest" / "logs"
                shutil.copytree(logs, self.logs, dirs_exist_ok=True)
        shutil.rmtree(self.folder, ignore_errors=True)

    @property
    def address(self) -> str:
        return self._cluster.address

    def workers(self) -> dict[int, str]:
        """Process -> title of each of Ray's workers; that of one without work is ray::IDLE."""
        titles = {pid: processes.title(pid) for pid in processes.descendants(self._raylets())}
        return {
            pid: text
            for pid, text in titles.items()
            if text.startswith("ray::") and not text.startswith(AGENTS)
        }

    def raylets(self) -> list[int]:
        """Of the nodes other than the head."""
        return [raylet_of(node) for node in sorted(self._cluster.worker_nodes, key=raylet_of)]

    def kill_node(self, rng: random.Random) -> bool:
        """Kill a node other than the head, at once, with all that ran on it.

        False where one is away already: the job's actors must have room somewhere.
        """
        nodes = sorted(self._cluster.worker_nodes, key=raylet_of)
        if len(nodes) < NODES:
            return False
        node = rng.choice(nodes)
        workers = processes.descendants([raylet_of(node)])
        self._cluster.remove_node(node, allow_graceful=False)
        for pid in workers:
            processes.kill(pid)
        return True

    def add_node(self) -> None:
        """Start a node in place of a killed one; it joins in a moment."""
        self._cluster.add_node(wait=False, **NODE)

    def _raylets(self) -> list[int]:
        nodes = self._cluster.list_all_nodes()
        # After a termination Ray's own handler may have ended some already.
        return [raylet_of(node) for node in nodes if PROCESS_TYPE_RAYLET in node.all_processes]


def raylet_of(node) -> int:
    """The process of a node's raylet; its workers descend from it."""
    return node.all_processes[PROCESS_TYPE_RAYLET][0].process.pid
