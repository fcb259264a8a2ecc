"""Which drivers are at work on an output: each keeps a file there and touches it.

Nothing that decides results goes by this: any number of drivers may share an output. It only keeps
one of them from clearing away what another is about to use.
"""

from __future__ import annotations

import json
import os
import platform
import re
import shutil
import tempfile
import threading
import uuid

from manifests import storage
from manifests.errors import StorageError
from pipeline.errors import PipelineError
from pipeline.output.layout import Layout

NAME = re.compile(r"[0-9a-f]{12}\.json")  # of a driver's file
TOUCH_SECONDS = 15.0
# Without a touch for so long, a driver was killed, or is cut off. Longer than a touch may be tried
# again (``storage.RETRY_SECONDS``).
DEAD_SECONDS = 300.0


class Heartbeat:
    """While it is entered, this driver's file says that it lives."""

    def __init__(self, layout: Layout):
        self.layout = layout
        self.name = f"{uuid.uuid4().hex[:12]}.json"
        self.said: dict = {}
        self.stop = threading.Event()
        self.thread = threading.Thread(target=self._beat, daemon=True)

    def __enter__(self) -> Heartbeat:
        self._touch()
        self.thread.start()
        return self

    def __exit__(self, *exc) -> None:
        self.stop.set()
        self.thread.join()
        try:
            storage.remove(self.layout.driver(self.name))
        except StorageError:  # it will be taken for dead soon, as it should be
            if exc[0] is None:
                raise

    def say(self, progress: dict) -> None:
        """What the file is to tell of this driver's progress from the next touch on."""
        self.said = progress

    def others(self) -> list[dict]:
        """Who else is at work here, as :func:`at_work` tells it.

        Ages are differences of times of the storage itself: clocks of machines do not matter.
        """
        return at_work(self.layout, storage.modified(self.layout.driver(self.name)), self.name)

    def _beat(self) -> None:
        while not self.stop.wait(TOUCH_SECONDS):
            try:
                self.layout.check_present()  # an output that was moved away is not begun anew
                self._touch()
            except (StorageError, PipelineError):
                continue  # the storage may be back for the next one

    def _touch(self) -> None:
        record = {
            "host": platform.node(),
            "pid": os.getpid(),
            "progress": self.said,
            "free_disk": shutil.disk_usage(tempfile.gettempdir()).free,  # where Ray spills
        }
        storage.write_bytes(self.layout.driver(self.name), json.dumps(record).encode())


def at_work(layout: Layout, now: float, own: str | None = None) -> list[dict]:
    """The drivers at work on an output, but for the one named ``own``.

    Args:
        layout: of the output.
        now: the time, in seconds since 1970, that ages are counted to: the storage's own where
            something hangs on it (:meth:`Heartbeat.others`).
        own: name of a file.

    Returns:
        What the file of each says: ``host``, ``pid``, ``progress``, ``free_disk`` (bytes of its
        machine); and its ``age`` in seconds.
    """
    live = []
    for name in storage.list_names(layout.drivers):
        if name == own or not NAME.fullmatch(name):
            continue
        try:
            age = now - storage.modified(layout.driver(name))
            record = _record(storage.read_bytes(layout.driver(name)))
        except StorageError as e:
            if e.kind != "not_found":  # gone between listing and reading: it has ended
                raise
            continue
        if age <= DEAD_SECONDS and not _gone(record):
            live.append({**record, "age": max(0.0, age)})
    return live


def in_words(drivers: list[dict]) -> str:
    return ", ".join(f"{driver['host']} (process {driver['pid']})" for driver in drivers)


def _record(data: bytes) -> dict:
    """What a driver's file says; of a damaged one, only that it is there."""
    try:
        record = json.loads(data)
        return {
            "progress": {},
            "free_disk": None,
            "host": record["host"],
            "pid": record["pid"],
            **record,
        }
    except (ValueError, KeyError, TypeError):
        return {"host": "an unknown machine", "pid": None, "progress": {}, "free_disk": None}


def _gone(record: dict) -> bool:
    """Whether the driver ran on this very machine, and its process is there no more."""
    return record["host"] == platform.node() and not os.path.exists(f"/proc/{record['pid']}")
