"""The child process that decodes files: ``python -m pipeline.pictures.child SOCKET FILE``.

:mod:`pipeline.pictures.fence` starts it. It answers requests until the socket is closed.
"""

from __future__ import annotations

import os
import resource
import signal
import socket
import sys
from typing import Any

from manifests.formats import decodable_formats
from pipeline.errors import RowError
from pipeline.pictures import decode
from pipeline.pictures.messages import Channel

# The address space that decoding may take beside what the process has when it starts.
SPARE_BYTES = 2**29
BYTES_PER_PIXEL = 64
COPIES = 3  # of the file
READY = "ready"


def serve(channel: Channel) -> None:
    """Decode what is asked for, one file after the other."""
    decodable_formats()  # Pillow loads its decoders here
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    signal.signal(signal.SIGALRM, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGALRM})
    with open("/proc/self/statm") as f:
        size = int(f.read().split()[0]) * resource.getpagesize()
    channel.send(READY)
    nowhere = os.open(os.devnull, os.O_WRONLY)  # libraries complain about files there
    os.dup2(nowhere, 2)
    while True:
        try:
            reader, data, options, seconds = channel.receive()
        except EOFError:
            return
        memory = size + SPARE_BYTES + COPIES * len(data) + BYTES_PER_PIXEL * options["max_pixels"]
        channel.send(_decoded(reader, data, options, seconds, memory))
        del data


def _decoded(reader: str, data: bytes, options: dict, seconds: float, memory: int) -> Any:
    """What a function of :mod:`pipeline.pictures.decode` returns, or its RowError."""
    hard = resource.getrlimit(resource.RLIMIT_AS)[1]
    resource.setrlimit(
        resource.RLIMIT_AS, (memory if hard == resource.RLIM_INFINITY else min(memory, hard), hard)
    )
    signal.setitimer(signal.ITIMER_REAL, seconds)  # SIGALRM ends the process
    try:
        return getattr(decode, reader)(data, **options)
    except RowError as e:
        return e
    except MemoryError:
        return RowError("there is not the memory to decode the file", "out_of_memory")
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        resource.setrlimit(resource.RLIMIT_AS, (hard, hard))


if __name__ == "__main__":
    serve(Channel(socket.socket(fileno=int(sys.argv[1])), int(sys.argv[2])))
