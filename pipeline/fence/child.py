"""The child process that decodes files: ``python -m pipeline.fence.child SOCKET FILE``.

:mod:`pipeline.fence.decoders` starts it. It answers requests until the socket is closed.
"""

from __future__ import annotations

import os
import resource
import signal
import socket
import sys

from PIL import AvifImagePlugin

from manifests.formats import decodable_formats
from pipeline.errors import RowError
from pipeline.fence.channel import Channel
from pipeline.pictures import decode
from pipeline.pictures.words import shown

# The address space that decoding may take beside what the process has when it starts.
SPARE_BYTES = 2**29  # libraries that are loaded late, such as SciPy, take 100 MB
BYTES_PER_PIXEL = 48  # a TIFF of 16 bits with premultiplied alpha takes 36
COPIES = 2  # of the file
READY = "ready"


def serve(channel: Channel) -> None:
    """Decode what is asked for, one file after the other."""
    decodable_formats()  # Pillow loads its decoders here
    AvifImagePlugin.DEFAULT_MAX_THREADS = 1  # each thread takes address space for its stack
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
            reader, data, args, options, seconds = channel.receive()
        except EOFError:
            return
        pixels = options.get("max_pixels", decode.MAX_PIXELS)
        _limit_memory(size + SPARE_BYTES + COPIES * len(data) + BYTES_PER_PIXEL * pixels)
        signal.setitimer(signal.ITIMER_REAL, seconds)  # SIGALRM ends the process
        try:
            answer = getattr(decode, reader)(data, *args, **options)
        except RowError as e:
            answer = e
        except MemoryError:
            answer = RowError("there is not the memory to decode the file", "out_of_memory")
        except Exception as e:  # what no decoder is known to raise
            answer = RowError(f"the file cannot be decoded ({shown(e)})", "failed")
        signal.setitimer(signal.ITIMER_REAL, 0)
        _limit_memory(resource.RLIM_INFINITY)
        channel.send(answer)
        del data, answer


def _limit_memory(size: int) -> None:
    """Of address space; at most what the process was given."""
    hard, unlimited = resource.getrlimit(resource.RLIMIT_AS)[1], resource.RLIM_INFINITY
    resource.setrlimit(
        resource.RLIMIT_AS, (min((n for n in (size, hard) if n != unlimited), default=hard), hard)
    )


if __name__ == "__main__":
    serve(Channel(socket.socket(fileno=int(sys.argv[1])), int(sys.argv[2])))
