"""Parts: the files of ``results/``. A part is created whole and once, and that is its commit.

A shard's part is ``SHARD-GENERATION-RUN.parquet``. Whoever creates that name first wins, so two
drivers, or a retried task, can never both have written a shard. A later generation (failed rows
restored after all) is a whole part again; the one that it supersedes is then overwritten by a part
without rows. It is not removed: a writer left over from long ago could create the name anew.
"""

from __future__ import annotations

import io
import json
import re
import time
from collections import Counter
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from manifests import storage
from manifests.formats import opens
from pipeline.job_warnings import MOSTLY_HIDDEN, NOT_EXPLAINED, TOO_CLEAN
from pipeline.output.layout import Layout
from pipeline.schema import FEATURES, metadata_of

NAME = re.compile(r"(?P<shard>\d{9})-(?P<generation>\d{3})-(?P<run>[0-9a-f]+)\.parquet")
FOOTER = b"diffpir"  # the key of a part's tally in the metadata of its schema
TAIL_BYTES = 16 << 10  # a guess at the size of a part's footer: one request instead of two


@dataclass(frozen=True)
class Part:
    """The name of a part, taken apart."""

    shard: int
    generation: int
    run: str

    @property
    def name(self) -> str:
        return f"{self.shard:09d}-{self.generation:03d}-{self.run}.parquet"


def parse(name: str) -> Part | None:
    """The part of that file name; None if it is no part's."""
    match = NAME.fullmatch(name)
    return match and Part(int(match["shard"]), int(match["generation"]), match["run"])


@dataclass(frozen=True)
class Tally:
    """What is counted over a part, or over many.

    Attributes:
        rows, failed: numbers of rows.
        failures: error kind -> rows.
        seconds: of the restorers' work on the rows.
        peak_memory: bytes resident in a restorer's process, at most.
        peak_device_memory: bytes on its GPU, at most; 0 without one.
        actor: host and process of who restored a part; empty of many.
        unexplained: rows with a residual above 2; in tasks that are not linear there are none.
        too_clean: rows that were warned of for a residual below 1/2.
        mostly_hidden: rows whose masks hide more than 95 %.
        ended: when a part was made, in seconds since 1970; of many, the last one.
    """

    rows: int = 0
    failed: int = 0
    failures: dict[str, int] = field(default_factory=dict)
    seconds: float = 0.0
    peak_memory: int = 0
    peak_device_memory: int = 0
    actor: str = ""
    ended: float = 0.0
    unexplained: int = 0
    too_clean: int = 0
    mostly_hidden: int = 0

    @staticmethod
    def total(tallies: Iterable[Tally]) -> Tally:
        tallies = list(tallies)
        kinds: Counter[str] = Counter()
        for tally in tallies:
            kinds.update(tally.failures)
        return Tally(
            rows=sum(t.rows for t in tallies),
            failed=sum(t.failed for t in tallies),
            failures=dict(sorted(kinds.items())),
            seconds=sum(t.seconds for t in tallies),
            peak_memory=max((t.peak_memory for t in tallies), default=0),
            peak_device_memory=max((t.peak_device_memory for t in tallies), default=0),
            ended=max((t.ended for t in tallies), default=0.0),
            unexplained=sum(t.unexplained for t in tallies),
            too_clean=sum(t.too_clean for t in tallies),
            mostly_hidden=sum(t.mostly_hidden for t in tallies),
        )


def tally_of(
    rows: pa.Table, peak_memory: int = 0, peak_device_memory: int = 0, actor: str = ""
) -> Tally:
    """Count the rows of a result that this actor has made now."""
    failed = rows.filter(pc.equal(rows["status"], "error"))
    kinds = Counter(failed["error_kind"].to_pylist())
    return Tally(
        rows=len(rows),
        failed=len(failed),
        failures=dict(sorted(kinds.items())),
        seconds=pc.sum(rows["seconds"], min_count=0).as_py(),
        peak_memory=peak_memory,
        peak_device_memory=peak_device_memory,
        actor=actor,
        ended=time.time(),
        unexplained=_above(rows, "residual", NOT_EXPLAINED),
        too_clean=_too_clean(rows),
        mostly_hidden=_above(rows, "hidden", MOSTLY_HIDDEN),
    )


def _above(rows: pa.Table, name: str, limit: float) -> int:
    """How many rows have more than that in the column."""
    return pc.sum(pc.greater(rows[name], limit)).as_py() or 0 if name in rows.column_names else 0


def _too_clean(rows: pa.Table) -> int:
    if not {"warning", "residual"} <= set(rows.column_names):
        return 0
    low = pc.less(rows["residual"], TOO_CLEAN)
    return pc.sum(pc.and_(low, pc.is_valid(rows["warning"]))).as_py() or 0


def create_part(layout: Layout, part: Part, rows: pa.Table, tally: Tally) -> bool:
    """Create the part; False if it is there already."""
    return storage.create_exclusive(layout.part(part.name), _encoded(rows, tally))


def empty_part(layout: Layout, part: Part) -> None:
    """Take the rows out of a superseded part, in one step: its reader sees all of them or none."""
    uri = layout.part(part.name)
    schema = pq.read_schema(pa.BufferReader(storage.read_bytes(uri)))
    storage.write_bytes(uri, _encoded(schema.empty_table(), Tally()))


def read_part(layout: Layout, part: Part, columns: list[str] | None = None) -> pa.Table:
    """Its rows. Checksums of pages are verified.

    Raises:
        StorageError: it cannot be read.
        pyarrow.ArrowException, OSError: it is no Parquet file, or a damaged one.
    """
    data = pa.BufferReader(storage.read_bytes(layout.part(part.name)))
    return pq.ParquetFile(data, page_checksum_verification=True).read(columns)


def read_tally(layout: Layout, part: Part) -> Tally:
    """Its tally, from its last bytes alone."""
    uri = layout.part(part.name)
    tail = storage.read_tail(uri, TAIL_BYTES)
    footer = int.from_bytes(tail[-8:-4], "little") + 8
    if footer > len(tail):
        tail = storage.read_tail(uri, footer)
    # A Parquet reader wants a file that begins as one, and looks at nothing else but the footer.
    return tally_in(pq.read_metadata(pa.BufferReader(b"PAR1" + tail)))


def tally_in(footer: pq.FileMetaData) -> Tally:
    """The tally that the footer of a part holds."""
    return Tally(**json.loads(footer.metadata[FOOTER]))


def _holds_pictures(column: pa.ChunkedArray) -> bool:
    """Whether others take the column's files for pictures: arrays of channels are none."""
    files = pc.struct_field(column, "bytes")
    first = next((file.as_py() for file in files if file.is_valid), None)
    return first is None or opens(first)


def _encoded(rows: pa.Table, tally: Tally) -> bytes:
    buffer = io.BytesIO()
    names = (name for name in ("restored", "uncertainty_map") if name in rows.column_names)
    pictures = [name for name in names if _holds_pictures(rows[name])]
    metadata = {**metadata_of(pictures), FOOTER: json.dumps(asdict(tally))}
    pq.write_table(
        rows.replace_schema_metadata(metadata),
        buffer,
        write_page_checksum=True,
        # The least and the greatest picture would be stored once more, twice each; and a
        # dictionary of pictures is of no use. Nor is either of features.
        write_statistics=[
            name for name in rows.column_names if name not in ("restored", *FEATURES)
        ],
        use_dictionary=False,
    )
    return buffer.getvalue()
