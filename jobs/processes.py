"""The processes that descend from others, as Linux tells them."""

from __future__ import annotations

import contextlib
from collections import defaultdict
from collections.abc import Iterable
from pathlib import Path


def descendants(roots: Iterable[int]) -> list[int]:
    """The children of these processes, their children, and so on."""
    children = defaultdict(list)
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):  # it has ended meanwhile
            # The name in brackets may hold anything; state and parent come after its end.
            parent = stat.read_text().rpartition(")")[2].split()[1]
            children[int(parent)].append(int(stat.parent.name))
    found: list[int] = []
    front = list(roots)
    while front:
        front = [child for pid in front for child in children[pid]]
        found += front
    return found
