"""A job that is interrupted ends in words, soon, and leaves nothing of Ray behind."""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

import typer

from jobs.console import say_how_to_go_on
from jobs.processes import descendants

SIGNALS = (signal.SIGINT, signal.SIGTERM)
SECONDS = 9.0  # for giving up, before the process ends whatever still holds it


class Interrupted(KeyboardInterrupt):
    """The signal of this number arrived."""

    def __init__(self, number: int):
        super().__init__(number)
        self.number = number


@contextmanager
def interruptible() -> Iterator[None]:
    """While it is entered, SIGINT and SIGTERM end the job and the process.

    The exit code is 128 and the signal's number: 130 and 143. Shards at work are given up; what is
    committed stays. Further signals change nothing: the end is on its way.
    """
    before = {number: signal.signal(number, _interrupt) for number in SIGNALS}
    try:
        yield
    except Interrupted as e:
        name = signal.Signals(e.number).name
        typer.secho(f"interrupted ({name})", err=True, fg="red")
        say_how_to_go_on()
        sys.stdout.flush()
        sys.stderr.flush()
        # Not by Ray's own end: the thread that waits for Ray would meet one that was shut down. In
        # a cluster, Ray ends this job's workers when this process is gone.
        for pid in descendants([os.getpid()]):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        os._exit(_code(e.number))
    except BaseException:
        _put_back(before)
        raise
    _put_back(before)


def _put_back(handlers: dict[signal.Signals, Any]) -> None:
    for number, handler in handlers.items():
        signal.signal(number, handler)


def _interrupt(number: int, frame: FrameType | None) -> None:
    for each in SIGNALS:
        signal.signal(each, signal.SIG_IGN)
    leave_within(_code(number))
    raise Interrupted(number)


def leave_within(code: int, seconds: float = SECONDS) -> None:
    """Let this process end soon: storage that does not answer, or Ray, may hold the way out."""
    last = threading.Timer(seconds, os._exit, [code])
    last.daemon = True
    last.start()


def _code(number: int) -> int:
    return 128 + number
