"""The decoders of :mod:`pipeline.pictures`, run in a child process of this one.

The bytes of a file may be anyone's, and the libraries that decode them are not proof against all:
they crash, take all memory, or do not end. The child has a limit of memory and a deadline. When it
dies, the file's error says why (``crash``, ``timeout`` or ``out_of_memory``, beside what decoding
itself raises), and the next file has a fresh child. One that does not start is a PipelineError.
"""

from __future__ import annotations

import atexit
import functools
import os
import pickle
import signal
import socket
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable
from typing import Any

from pipeline.errors import PipelineError, RowError
from pipeline.fence.channel import Channel
from pipeline.pictures import decode, jpeg
from pipeline.spec.base import DECODE_SECONDS

LATE_SECONDS = 10.0  # after its deadline, when a child is killed that its alarm did not end
START_SECONDS = 300.0
UNWELL = ("crash", "timeout", "out_of_memory")  # errors after which the child is not used again
ENVIRONMENT = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "MALLOC_ARENA_MAX": "1"}


class _Fence:
    """The child process: started for the first file, and after a death for the next one."""

    def __init__(self) -> None:
        self.forget()

    def forget(self) -> None:
        """Begin without a child; after a fork, the child is the parent's."""
        self._lock = threading.Lock()
        self._process: subprocess.Popen | None = None

    def decode(self, reader: str, data: bytes, args: tuple, options: dict, seconds: float) -> Any:
        """What the function ``reader``, of one of the child's ``READERS``, makes of the file."""
        request = reader, pickle.PickleBuffer(data), args, options, seconds
        with self._lock:
            used = self._process is not None
            answer = self._ask(request, seconds)
            # A child that decoded other files may suffer from what they left in it.
            if used and isinstance(answer, RowError) and answer.kind in ("crash", "out_of_memory"):
                answer = self._ask(request, seconds)
        if isinstance(answer, RowError):
            raise answer
        return answer

    def _ask(self, request: tuple, seconds: float) -> Any:
        if self._process is None:
            self._start()
        try:
            self._channel.socket.settimeout(seconds + LATE_SECONDS)
            self._channel.send(request)
            answer = self._channel.receive()
        except TimeoutError:
            answer = _too_long(seconds)
        except (EOFError, OSError):
            answer = self._death(seconds)
        except MemoryError:
            answer = RowError("there is not the memory for the decoded file", "out_of_memory")
        except BaseException:  # an interrupt: what is on the way is nobody's answer any more
            self.stop()
            raise
        if isinstance(answer, RowError) and answer.kind in UNWELL:
            self.stop()
        return answer

    def _start(self) -> None:
        ours, theirs = socket.socketpair(type=socket.SOCK_SEQPACKET)
        self._channel = Channel(ours, os.memfd_create("files"))
        # As in the process itself, whose path may be that of a job's runtime environment.
        path = os.pathsep.join(entry or os.getcwd() for entry in sys.path)
        handed = [theirs.fileno(), self._channel.file]
        module = ["-P", "-W", "ignore", "-m", "pipeline.fence.child"]
        with theirs, tempfile.TemporaryFile() as errors:
            self._process = subprocess.Popen(
                [sys.executable, *module, *map(str, handed)],
                env=os.environ | ENVIRONMENT | {"PYTHONPATH": path},
                pass_fds=handed,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=errors,
                process_group=0,  # Ctrl-C is for the parent, which then stops the child
            )
            theirs.close()
            ours.settimeout(START_SECONDS)
            try:
                self._channel.receive()
            except Exception as e:
                self.stop()
                errors.seek(0)
                said = errors.read().decode(errors="replace").strip() or repr(e)
                raise PipelineError(f"the process that decodes files does not start: {said}") from e

    def _death(self, seconds: float) -> RowError:
        assert self._process is not None
        try:
            code = self._process.wait(LATE_SECONDS)
        except subprocess.TimeoutExpired:
            return RowError("the process that decoded the file closed its socket", "crash")
        if code == -signal.SIGALRM:
            return _too_long(seconds)
        how = f"signal {signal.Signals(-code).name}" if code < 0 else f"exit status {code}"
        return RowError(f"the process that decoded the file died ({how})", "crash")

    def stop(self) -> None:
        """End the child; the next file has another."""
        if self._process is not None:
            self._channel.socket.close()
            os.close(self._channel.file)
            self._process.kill()
            self._process.wait()
            self._process = None


def _too_long(seconds: float) -> RowError:
    return RowError(f"decoding the file took longer than {seconds:g} s", "timeout")


_fence = _Fence()
atexit.register(_fence.stop)
os.register_at_fork(after_in_child=_fence.forget)


def _fenced(reader: Callable) -> Callable:
    """The decoder, run in the child process; ``seconds`` are what it may take."""

    @functools.wraps(reader)
    def decoder(data: bytes, *args: Any, seconds: float = DECODE_SECONDS, **options: Any) -> Any:
        return _fence.decode(reader.__name__, data, args, options, seconds)

    return decoder


decode_picture = _fenced(decode.decode_picture)
decode_image = _fenced(decode.decode_image)
decode_mask = _fenced(decode.decode_mask)
decode_kernel = _fenced(decode.decode_kernel)
decode_noise_map = _fenced(decode.decode_noise_map)
kernel_names = _fenced(decode.kernel_names)
check_file = _fenced(decode.check_file)
read_jpeg = _fenced(jpeg.read_jpeg)


def file_fault(column: str, data: bytes) -> str | None:
    """What is wrong with the file that a manifest's column names, in words; None if nothing is."""
    try:
        check_file(data, column)
    except RowError as e:
        return str(e)
    return None
