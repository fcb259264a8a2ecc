"""Which drivers are at work on an output: each keeps a file there and touches it.

Nothing that decides results goes by this: any number of drivers may share an output. It only keeps
one of them from clearing away what another is about to use.
"""

from __future__ import annotations

import json
import os
import platform
import threading
import uuid

from manifests import storage
from manifests.errors import StorageError
from pipeline.layout import Layout

TOUCH_SECONDS = 15.0
DEAD_SECONDS = 120.0  # without a touch: its driver was killed, or is cut off


class Heartbeat:
    """While it is entered, this driver's file says that it lives."""

    def __init__(self, layout: Layout):
        self.layout = layout
        self.name = f"{uuid.uuid4().hex[:12]}.json"
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

    def others(self) -> list[str]:
        """Who else is at work here: ``host (pid)`` of each."""
        return others(self.layout, self.name)

    def _beat(self) -> None:
        while not self.stop.wait(TOUCH_SECONDS):
            try:
                self._touch()
            except StorageError:
                continue  # the storage may be back for the next one

    def _touch(self) -> None:
        record = {"host": platform.node(), "pid": os.getpid()}
        storage.write_bytes(self.layout.driver(self.name), json.dumps(record).encode())


def others(layout: Layout, own: str | None = None) -> list[str]:
    """The drivers at work on an output, but for the one named ``own``: ``host (pid)`` of each.

    Ages are differences of times that the storage itself gives: clocks of machines do not matter.
    """
    names = storage.list_names(layout.drivers, ".json")
    if own is None:
        if not names:
            return []
        own = f"{uuid.uuid4().hex[:12]}.json"
        with_clock = layout.driver(own)
        storage.write_bytes(with_clock, b"{}")
        now = storage.modified(with_clock)
        storage.remove(with_clock)
    else:
        now = storage.modified(layout.driver(own))
    live = []
    for name in names:
        if name == own:
            continue
        try:
            if now - storage.modified(layout.driver(name)) < DEAD_SECONDS:
                record = json.loads(storage.read_bytes(layout.driver(name)))
                live.append(f"{record.get('host')} ({record.get('pid')})")
        except StorageError as e:
            if e.kind != "not_found":  # gone between listing and reading: it has ended
                raise
    return live
