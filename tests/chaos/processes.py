"""Processes of this machine, from /proc: who descends from whom, and what each says it does."""

from __future__ import annotations

import contextlib
import os
import signal
from collections import defaultdict
from collections.abc import Iterable
from pathlib import Path


def descendants(roots: Iterable[int]) -> list[int]:
    """The children of these processes, their children, and so on."""
    children = defaultdict(list)
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):  # it has ended meanwhile
            # The name in brackets may hold anything; state and parent come after its end.
            parent = stat.read_text().rpartition(")")[2].split()[1]
            children[int(parent)].append(int(stat.parent.name))
    found, front = [], list(roots)
    while front:
        front = [child for pid in front for child in children[pid]]
        found += front
    return found


def title(pid: int) -> str:
    """The command line; Ray's workers write there what they are doing. Empty: it has ended."""
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode().strip()
    except OSError:
        return ""


def kill(pid: int) -> None:
    """Kill it as a crash would; nothing if it has ended."""
    send(pid, signal.SIGKILL)


def send(pid: int, number: signal.Signals) -> None:
    """Send it a signal; nothing if it has ended."""
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, number)
