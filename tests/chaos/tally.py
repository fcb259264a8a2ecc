"""What chaos counts, as a table and as JSON."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field, fields

from tests.chaos.compare import Differences

ERRORS_KEPT = 20  # of each sort


@dataclass
class Tally:
    """Of one run of the script.

    Attributes:
        kills: kind -> number.
        missed: kind -> how often there was nothing of the kind to kill.
        rivals: second drivers that were started on an output at work.
        exits: code -> drivers that ended by themselves.
        stops: the last words of drivers that stopped with exit code 1.
        comparisons, rows_checked: finished outputs read, and rows in all of them.
        faults: whatever must not happen, in words.
    """

    kills: Counter[str] = field(default_factory=Counter)
    missed: Counter[str] = field(default_factory=Counter)
    rivals: int = 0
    rounds: int = 0
    exits: Counter[int] = field(default_factory=Counter)
    stops: list[str] = field(default_factory=list)
    comparisons: int = 0
    rows_checked: int = 0
    rows_lost: int = 0
    rows_twice: int = 0
    rows_unknown: int = 0
    status_differing: int = 0
    images_differing: int = 0
    images_not_bit_equal: int = 0
    largest_pixel_difference: int = 0
    faults: list[str] = field(default_factory=list)
    quiet_seconds: float = 0.0
    seconds: float = 0.0

    def add(self, found: Differences, rows: int, where: str) -> None:
        """Count a comparison."""
        self.comparisons += 1
        self.rows_checked += rows
        self.rows_lost += len(found.lost)
        self.rows_twice += len(found.twice)
        self.rows_unknown += len(found.unknown)
        self.status_differing += len(found.status)
        self.images_differing += len(found.images)
        self.images_not_bit_equal += found.not_bit_equal
        self.largest_pixel_difference = max(self.largest_pixel_difference, found.largest)
        if found:
            self.fault(f"{where}: {found}")

    def fault(self, text: str) -> None:
        if len(self.faults) < ERRORS_KEPT:
            self.faults.append(text)

    @property
    def is_good(self) -> bool:
        return not self.faults

    def record(self) -> dict:
        """As plain values."""
        values = {f.name: getattr(self, f.name) for f in fields(self)}
        return {
            name: {str(key): value[key] for key in sorted(value)}
            if isinstance(value, Counter)
            else value
            for name, value in values.items()
        }

    def lines(self) -> Iterator[str]:
        for name, value in self.record().items():
            label = name.replace("_", " ")
            if isinstance(value, dict):
                shown = ", ".join(f"{n} {key}" for key, n in value.items()) or "none"
                total = f"{sum(value.values())} ({shown})" if name == "kills" else shown
                yield f"{label:<26}{total}"
            elif isinstance(value, list):
                yield f"{label:<26}{len(value)}"
                yield from (f"    {text}" for text in value)
            else:
                yield (
                    f"{label:<26}{value:.0f}"
                    if isinstance(value, float)
                    else (f"{label:<26}{value}")
                )
