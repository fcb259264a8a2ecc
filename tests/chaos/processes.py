"""Processes of this machine, from /proc: what each says it does, and signals to it."""

from __future__ import annotations

import contextlib
import os
import signal
from pathlib import Path

from jobs.processes import descendants

__all__ = ["descendants", "kill", "send", "title"]


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
