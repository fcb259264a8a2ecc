"""Values between two processes that take turns: a socket says that one is there, a file has it."""

from __future__ import annotations

import os
import pickle
import socket
import struct
from typing import Any

KEPT_BYTES = 2**24  # of the file; what a larger value took is given back
SIZE = struct.calcsize("Q")


class Channel:
    """One end of it.

    Args:
        socket: of the type SOCK_SEQPACKET.
        file: descriptor of a file in memory, the same for both.
    """

    def __init__(self, socket: socket.socket, file: int):
        self.socket, self.file = socket, file

    def send(self, value: Any) -> None:
        """Hand a value to the other end. Arrays and ``pickle.PickleBuffer`` are copied once."""
        buffers: list[pickle.PickleBuffer] = []
        body = pickle.dumps(value, 5, buffer_callback=buffers.append)
        parts = [memoryview(body), *(buffer.raw() for buffer in buffers)]
        place = 0
        for part in parts:
            done = 0
            while done < len(part):  # one call writes 2 GB at most
                done += os.pwrite(self.file, part[done:], place + done)
            place += done
        self.socket.send(struct.pack(f"{len(parts)}Q", *map(len, parts)))

    def receive(self) -> Any:
        """The other end's next value; its arrays are read-only.

        Raises:
            EOFError: the other end is closed.
        """
        message = self.socket.recv(64 * SIZE)
        if not message:
            raise EOFError
        parts, place = [], 0
        for size in struct.unpack(f"{len(message) // SIZE}Q", message):
            parts.append(self._read(size, place))
            place += size
        if place > KEPT_BYTES:
            os.ftruncate(self.file, KEPT_BYTES)
        return pickle.loads(parts[0], buffers=parts[1:])

    def _read(self, size: int, place: int) -> bytes:
        data = os.pread(self.file, size, place)
        while len(data) < size:  # as for writing
            data += os.pread(self.file, size - len(data), place + len(data))
        return data
