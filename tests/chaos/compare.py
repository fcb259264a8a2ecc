"""Reading results as somebody who knows nothing of this project, and comparing them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

import fsspec
import numpy as np
import pyarrow.dataset as ds

from tests.pictures import decoded

COLUMNS = ["id", "status", "error_kind", "restored"]
# Another batch may round another way; what is more is a fault.
MOST_PIXELS = 0.001


@dataclass
class Differences:
    """What is wrong with results; ids, but for the last two.

    Attributes:
        not_bit_equal: images that are not the same to the last bit, those in tolerance too.
        largest: difference of a pixel, of 255.
    """

    lost: list[str] = field(default_factory=list)
    twice: list[str] = field(default_factory=list)
    unknown: list[str] = field(default_factory=list)
    status: list[str] = field(default_factory=list)
    images: list[str] = field(default_factory=list)
    not_bit_equal: int = 0
    largest: int = 0

    def __bool__(self) -> bool:
        return any((self.lost, self.twice, self.unknown, self.status, self.images))


def part_names(output: str) -> list[str]:
    """The files ``results/*.parquet``."""
    if "://" not in output:
        return [str(path) for path in sorted(Path(output, "results").glob("*.parquet"))]
    fs, path = _remote(output)
    fs.invalidate_cache()
    if not fs.exists(f"{path}/results"):
        return []
    return sorted(name for name in fs.ls(f"{path}/results", False) if name.endswith(".parquet"))


def read_results(output: str) -> list[dict]:
    """Every row that those files hold."""
    names = part_names(output)
    if not names:
        return []
    fs = _remote(output)[0] if "://" in output else None
    return ds.dataset(names, format="parquet", filesystem=fs).to_table(COLUMNS).to_pylist()


def compare(expected: list[dict], got: list[dict], ids: Iterable[str]) -> Differences:
    """Results against those of a quiet run, and both against the manifest's ids."""
    found = Differences()
    wanted, counts = set(ids), Counter(row["id"] for row in got)
    found.lost = sorted(wanted - counts.keys())
    found.unknown = sorted(counts.keys() - wanted)
    found.twice = sorted(name for name, count in counts.items() if count > 1)
    quiet = {row["id"]: row for row in expected}
    for row in got:
        other = quiet.get(row["id"])
        if other is None:
            continue
        if any(row[name] != other[name] for name in ("status", "error_kind")):
            now = f"{row['status']}/{row['error_kind']}"
            found.status.append(f"{row['id']}: {now}, not {other['status']}/{other['error_kind']}")
        elif row["restored"] is not None or other["restored"] is not None:
            _compare_images(row, other, found)
    return found


def _compare_images(row: dict, other: dict, found: Differences) -> None:
    if row["restored"] is None or other["restored"] is None:
        found.images.append(row["id"])
        return
    a, b = (decoded(r["restored"]["bytes"]).astype(int) for r in (row, other))
    if a.shape != b.shape:
        found.images.append(row["id"])
        return
    difference = np.abs(a - b)
    found.not_bit_equal += bool(difference.any())
    found.largest = max(found.largest, int(difference.max()))
    if difference.max() > 1 or (difference > 0).mean() > MOST_PIXELS:
        found.images.append(row["id"])


def _remote(output: str):
    return fsspec.url_to_fs(output)
