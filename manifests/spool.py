"""Tables that are kept for a while, in memory or in a temporary file that nobody else sees."""

from __future__ import annotations

import tempfile
import weakref
from collections.abc import Iterator

import pyarrow as pa

from manifests.errors import ManifestError
from manifests.limits import cut

HELD_BYTES = 256 << 20  # that are kept in memory


class Spool:
    """Tables, in the order in which they were added.

    Args:
        name: of the manifest that they are rows of, for messages.
    """

    def __init__(self, name: str):
        self._name, self._tables = name, 0
        self._file = tempfile.SpooledTemporaryFile(max_size=HELD_BYTES)  # noqa: SIM115
        weakref.finalize(self, self._file.close)
        self._options = pa.ipc.IpcWriteOptions(compression="lz4")

    def add(self, table: pa.Table) -> None:
        """Keep a table.

        Raises:
            ManifestError: there is no room for it.
        """
        try:
            with pa.ipc.new_stream(self._file, table.schema, options=self._options) as writer:
                writer.write_table(table)
        except OSError as e:
            raise ManifestError(
                f"{self._name}: its rows cannot be kept in {tempfile.gettempdir()}: {cut(str(e))}; "
                "set TMPDIR to a folder with more room"
            ) from None
        self._tables += 1

    def __iter__(self) -> Iterator[pa.Table]:
        place = 0
        for _ in range(self._tables):
            self._file.seek(place)
            with pa.ipc.open_stream(self._file) as reader:
                table = reader.read_all()
            place = self._file.tell()
            yield table
