"""Ray's own lines on a driver's standard error, which mean nothing to a user, are kept from it.

Each pool of actors that Ray Data makes writes one such line: "has constructor arguments in the
object store". Ray Data itself passes these arguments, and holds them while the actors live, so
nothing is wrong. The line comes from the part of Ray that is written in C++. Only a variable of
the environment silences that part, which then says so in another line, at the start.
"""

from __future__ import annotations

import os
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager

LEVEL = "RAY_BACKEND_LOG_LEVEL"
STDERR = 2  # the file descriptor


@contextmanager
def quiet_driver() -> Iterator[None]:
    """While it is entered, Ray may be started or connected to: this process then logs no errors.

    The other processes of Ray log as ever, and so does this one where the user has set the level.
    """
    if LEVEL in os.environ:
        yield
        return
    os.putenv(LEVEL, "fatal")  # in this process alone: Ray starts its own with os.environ
    try:
        with _without(LEVEL.encode()):
            yield
    finally:
        os.unsetenv(LEVEL)


@contextmanager
def _without(words: bytes) -> Iterator[None]:
    """Hold standard error back, and pass on afterwards all lines but those with these words."""
    if sys.stderr is None:  # it is closed
        yield
        return
    sys.stderr.flush()
    before = os.dup(STDERR)
    with tempfile.TemporaryFile() as held:
        os.dup2(held.fileno(), STDERR)
        try:
            yield
        finally:
            sys.stderr.flush()
            os.dup2(before, STDERR)
            os.close(before)
            held.seek(0)
            for line in held:
                if words not in line:
                    os.write(STDERR, line)
