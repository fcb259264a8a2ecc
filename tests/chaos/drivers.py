"""Driver processes: ``diffpir run`` on a job file, each with a log of its own."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

# The command itself, but for a signal that makes it write its stack: to see where it hangs.
COMMAND = (
    "import faulthandler, signal; faulthandler.register(signal.SIGUSR1); "
    "from jobs.cli import main; main()"
)
TAIL_LINES = 12


class Driver:
    """A running ``diffpir run``.

    Attributes:
        killed: whether :meth:`kill` was called.
    """

    def __init__(self, job: Path, log: Path, address: str):
        self.log = log
        self.killed = False
        with log.open("wb") as output:
            self._process = subprocess.Popen(
                [sys.executable, "-c", COMMAND, "run", str(job)],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                env={**os.environ, "RAY_ADDRESS": address},
            )

    @property
    def code(self) -> int | None:
        """Its exit code; None while it runs."""
        return self._process.poll()

    def kill(self) -> bool:
        """Kill it; False if it had ended by itself."""
        if self.code is not None:
            return False
        self.killed = True
        self._process.kill()
        return self._process.wait() == -signal.SIGKILL

    def text(self) -> str:
        return self.log.read_text(errors="replace")

    def tail(self) -> str:
        return "\n".join(self.text().splitlines()[-TAIL_LINES:])

    def dump_stack(self) -> None:
        """Let it write into its log what its threads are doing."""
        if self.code is None:
            self._process.send_signal(signal.SIGUSR1)
            time.sleep(1)
