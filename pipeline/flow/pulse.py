"""Actors that stand still are ended, so that others do their work.

Ray notices a process that dies, but not one that is stopped or hangs. So each actor says every few
seconds that it lives, from a thread of its own, and the driver ends one that has been silent for
minutes. Ray starts it anew.
"""

from __future__ import annotations

import contextlib
import os
import signal
import threading
from pathlib import Path
from typing import TYPE_CHECKING

import ray
from ray.exceptions import RayError

if TYPE_CHECKING:
    from pipeline.flow.ledger import Ledger

PULSE_SECONDS = 5.0
SILENT_SECONDS = 300.0  # a machine may be busy, or asleep, for a while


def start_pulse(ledger: Ledger) -> None:
    """Let this actor say that it lives, as long as its process runs."""
    node, pid = ray.get_runtime_context().get_node_id(), os.getpid()

    def beat() -> None:
        while True:
            with contextlib.suppress(RayError):  # the ledger's node died; the ledger comes again
                ledger.pulse(node, pid)
            pause.wait(PULSE_SECONDS)

    pause = threading.Event()
    threading.Thread(target=beat, daemon=True).start()


def end_silent(ledger: Ledger) -> None:
    """End the actors that have been silent for too long; the driver asks now and then."""
    for node, pid in ledger.silent(SILENT_SECONDS):
        there = {"num_cpus": 0, "max_retries": 0, "label_selector": {"ray.io/node-id": node}}
        ray.remote(_end).options(**there).remote(pid)


def _end(pid: int) -> None:
    """End a process of Ray's on this node; a stopped one can be asked nothing."""
    with contextlib.suppress(OSError):
        if b"ray::" in Path(f"/proc/{pid}/cmdline").read_bytes():
            os.kill(pid, signal.SIGKILL)
