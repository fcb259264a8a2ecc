"""The child process that decodes files: ``python -m pipeline.fence.child SOCKET FILE``.

:mod:`pipeline.fence.decoders` starts it. It answers requests until the socket is closed.
"""

from __future__ import annotations

import os
import resource
import signal
import socket
import sys
from pathlib import Path

from PIL import AvifImagePlugin

from manifests.formats import decodable_formats
from pipeline.errors import RowError
from pipeline.fence.channel import Channel
from pipeline.pictures import decode, jpeg
from pipeline.pictures.words import shown

# The address space that decoding may take beside what the process has when it starts.
SPARE_BYTES = 2**29  # libraries that are loaded late, such as SciPy, take 100 MB
BYTES_PER_PIXEL = 48  # a TIFF of 16 bits with premultiplied alpha takes 36
COPIES = 2  # of the file
READERS = (decode, jpeg)  # the modules of the functions that are asked for by name


def serve(channel: Channel) -> None:
    """Decode what is asked for, one file after the other."""
    decodable_formats()  # Pillow loads its decoders here
    AvifImagePlugin.DEFAULT_MAX_THREADS = 1  # each thread takes address space for its stack
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    signal.signal(signal.SIGALRM, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGALRM})
    size = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    most = resource.getrlimit(resource.RLIMIT_AS)[1]  # -1 if there is no limit
    channel.send("ready")
    os.dup2(os.open(os.devnull, os.O_WRONLY), 2)  # libraries complain about files there
    while True:
        try:
            reader, data, args, options, seconds = channel.receive()
        except EOFError:
            return
        memory = size + SPARE_BYTES + COPIES * len(data)
        memory += BYTES_PER_PIXEL * options.get("max_pixels", decode.MAX_PIXELS)
        resource.setrlimit(resource.RLIMIT_AS, (min(memory, most) if most >= 0 else memory, most))
        signal.setitimer(signal.ITIMER_REAL, seconds)  # SIGALRM ends the process
        try:
            (module, *_) = (module for module in READERS if hasattr(module, reader))
            answer = getattr(module, reader)(data, *args, **options)
        except RowError as e:
            answer = e
        except MemoryError:
            answer = RowError("there is not the memory to decode the file", "out_of_memory")
        except Exception as e:  # what no decoder is known to raise
            answer = RowError(f"the file cannot be decoded ({shown(e)})", "failed")
        signal.setitimer(signal.ITIMER_REAL, 0)
        resource.setrlimit(resource.RLIMIT_AS, (most, most))
        channel.send(answer)
        del data, answer


if __name__ == "__main__":
    serve(Channel(socket.socket(fileno=int(sys.argv[1])), int(sys.argv[2])))
