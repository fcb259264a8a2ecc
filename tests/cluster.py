"""A real Ray cluster of several nodes on this machine, made by ``ray start`` as people make it."""

from __future__ import annotations

import json
import os
import secrets
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from tests.chaos import processes
from tests.s3 import free_port

BIN = Path(sys.executable).parent
KNOWN = ("AWS_", "RAY_")  # by the tests, and not by the cluster's nodes
START_SECONDS = 60


@dataclass
class RayCluster:
    """A head without CPUs of its own, and nodes.

    Attributes:
        environment: of its processes, and for those that are to talk to it: Ray reads a token once
            in a process's life.
        jobs_url: of the job API.
        gcs: address that nodes and drivers join by.
    """

    folder: Path
    environment: dict[str, str]
    ports: tuple[int, ...] = ()
    nodes: list[subprocess.Popen] = field(default_factory=list)

    @property
    def jobs_url(self) -> str:
        return f"http://127.0.0.1:{self.ports[0]}"

    @property
    def gcs(self) -> str:
        return f"127.0.0.1:{self.ports[1]}"

    def start_head(self) -> None:
        port = free_port()
        self.ports = (port, port + 1)
        self._start(
            "--head", f"--port={port + 1}", f"--dashboard-port={port}", "--num-cpus=0",
            f"--temp-dir={self.folder}",
        )  # fmt: skip
        self._until(self._answers)

    def add_node(self, cpus: int, gpus: int = 0, **resources: float) -> None:
        """Start a node. GPUs are only said to be there.

        One after the other: two that start at once on one machine take the same socket.
        """
        # As Ray labels nodes where it finds a real one.
        labels = {"ray.io/accelerator-type": "H100"} if gpus else {}
        self._start(
            f"--address={self.gcs}", f"--num-cpus={cpus}", f"--num-gpus={gpus}",
            f"--resources={json.dumps(resources)}",
            labels=labels,
        )  # fmt: skip
        self._until(lambda: "Ray runtime started" in self._said(-1))

    def stop(self) -> None:
        """At once: a node's own end takes its time."""
        for pid in processes.descendants([node.pid for node in self.nodes]):
            processes.kill(pid)
        for node in self.nodes:
            node.kill()
            node.wait()

    def _start(self, *arguments: str, labels: dict | None = None) -> None:
        environment = {**self.environment, "RAY_OVERRIDE_LABELS": json.dumps(labels or {})}
        command = [BIN / "ray", "start", "--block", "--disable-usage-stats", *arguments]
        # The usual port of a node's agent may be another cluster's on this machine.
        command += ["--object-store-memory=150000000"]
        command += [f"--dashboard-agent-listen-port={free_port()}"]
        with (self.folder / f"node-{len(self.nodes)}.log").open("wb") as log:
            node = subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT, env=environment)
        self.nodes.append(node)

    def _answers(self) -> bool:
        token = {"Authorization": f"Bearer {self.environment['RAY_AUTH_TOKEN']}"}
        ask = urllib.request.Request(f"{self.jobs_url}/api/version", headers=token)
        try:
            urllib.request.urlopen(ask, timeout=5).read()
            return True
        except OSError:
            return False

    def _until(self, is_so: Callable[[], bool]) -> None:
        end = time.monotonic() + START_SECONDS
        while not is_so():
            if time.monotonic() > end or self.nodes[-1].poll() is not None:
                raise RuntimeError(f"a node did not start: {self._said(-1)}")
            time.sleep(0.3)

    def _said(self, node: int) -> str:
        number = node % len(self.nodes)
        return (self.folder / f"node-{number}.log").read_text()[-4000:]


@contextmanager
def ray_nodes(*nodes: dict) -> Iterator[RayCluster]:
    """A cluster with a head and these nodes (arguments of :meth:`RayCluster.add_node`)."""
    with tempfile.TemporaryDirectory(prefix="ray-", dir="/tmp") as folder:  # sockets: short paths
        environment = {
            **{name: value for name, value in os.environ.items() if not name.startswith(KNOWN)},
            "PATH": f"{BIN}{os.pathsep}{os.environ['PATH']}",  # Ray starts jobs by "python"
            "RAY_metrics_report_interval_ms": "1000",  # the usual ten seconds are long for a test
            "RAY_AUTH_MODE": "token",
            "RAY_AUTH_TOKEN": secrets.token_hex(32),
        }
        cluster = RayCluster(Path(folder), environment)
        try:
            cluster.start_head()
            for node in nodes:
                cluster.add_node(**node)
            yield cluster
        finally:
            cluster.stop()
