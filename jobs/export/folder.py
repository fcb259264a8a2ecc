"""Pictures in a folder with a ``metadata.csv``, as Hugging Face's ``imagefolder`` reads them."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor

import pyarrow as pa

from jobs.export.files import Files
from jobs.export.journal import Journal
from jobs.export.members import Member, each_row
from jobs.export.source import MEASURED, Source
from jobs.export.values import as_cell
from manifests import storage
from pipeline.errors import PipelineError
from pipeline.output.record import spec_of

FOLDER = "train"
METADATA = f"{FOLDER}/metadata.csv"
THREADS = 32  # writing pictures waits for storage
# The loader makes a column "image" of "file_name": the manifest's own goes by another name.
RENAMED = {"image": "manifest_image"}


class FolderFiles(Files):
    """The files of an export.

    Their rows are written piece by piece to hidden files, each after its pictures, and these put
    together in the end.

    Args:
        source: of the rows.

    Raises:
        PipelineError: a column has a name that the loader would take for that of a file.
    """

    data_files = f"{FOLDER}/**"

    def __init__(self, source: Source):
        self.pictures = source.pictures
        spec = spec_of(source.folder.record, source.folder.layout)
        # Kind of a picture -> the loader's column of it.
        self.files = {"restored": "image"}
        if MEASURED in self.pictures:
            self.files["measured"] = MEASURED
        if spec.uncertainty and "uncertainty_map" in self.pictures:
            self.files["uncertainty"] = "uncertainty_map"
        if spec.keep_samples and "samples" in self.pictures:
            self.files |= {f"sample{i}": f"sample{i}" for i in range(spec.samples)}
        self.others = [name for name in source.schema.names if name not in self.pictures]
        names = [RENAMED.get(name, name) for name in self.others]
        for name in names:
            taken = name in self.files.values() or names.count(name) > 1
            if taken or name.endswith(("file_name", "file_names")):
                raise PipelineError(
                    f"column {name!r}: a metadata.csv has another use for that name; leave it out "
                    "with --columns"
                )
        files = [f"{name}_file_name" for name in self.files.values()]
        self.header = ["file_name", *files[1:], *names]

    def names(self, count: int) -> list[str]:
        return [f".diffpir-rows-{i:05d}.csv" for i in range(count)]

    def encode(self, tables: Iterable[pa.Table], journal: Journal) -> bytes:
        """Write the pictures of these rows; returns their lines of the CSV file."""
        text = io.StringIO()
        writer = csv.writer(text, lineterminator="\n")
        with ThreadPoolExecutor(THREADS) as pool:
            for table in tables:
                members: list[Member] = []
                for _, found, values in each_row(table, self.pictures):
                    members += found
                    names = {member.kind: member.name for member in found}
                    writer.writerow(
                        [names.get(kind, "") for kind in self.files]
                        + [as_cell(values[name]) for name in self.others]
                    )
                list(pool.map(lambda member: _write(member, journal), members))
                if journal.resumed:
                    for folder in {storage.parent(_path(member)) for member in members}:
                        storage.remove_partials(storage.join(journal.dest, folder))
        return text.getvalue().encode()

    def visible(self, names: list[str]) -> list[str]:
        return [FOLDER]

    def has(self, journal: Journal, name: str) -> bool:
        return journal.has(METADATA) or journal.has(name)

    def finish(self, journal: Journal, names: list[str]) -> None:
        """Put the hidden files together, and remove them."""
        if not journal.has(METADATA):
            header = io.StringIO()
            csv.writer(header, lineterminator="\n").writerow(self.header)
            lines = [storage.read_bytes(storage.join(journal.dest, name)) for name in names]
            journal.write(METADATA, b"".join([header.getvalue().encode(), *lines]))
        for name in names:
            storage.remove(storage.join(journal.dest, name))


def _path(member: Member) -> str:
    return f"{FOLDER}/{member.name}"


def _write(member: Member, journal: Journal) -> None:
    """Write a picture, but for one that an earlier call has written."""
    if not (journal.resumed and journal.size_of(_path(member)) == len(member.data)):
        storage.write_bytes(storage.join(journal.dest, _path(member)), member.data)
