"""``.diffpir-export.json``: which export a folder holds, and which of its files are finished."""

from __future__ import annotations

import json
from collections.abc import Collection
from dataclasses import asdict, dataclass, field

from manifests import storage
from manifests.errors import StorageError
from pipeline.errors import PipelineError

NAME = ".diffpir-export.json"
HINTS = {  # for values that say little when they are shown
    "rows": " (since then, failed rows of the job were restored once more)"
}
NAMED = 3  # files that a message names at most


@dataclass(frozen=True)
class Written:
    """A finished file.

    Attributes:
        bytes: its size.
        rows: in it.
        missing: rows among them whose measured picture could not be had.
    """

    bytes: int
    rows: int = 0
    missing: int = 0


@dataclass
class Journal:
    """What is known of an export's folder.

    Attributes:
        dest: folder or URI.
        identity: what decides every file's content; another export has another.
        files: name -> what was written.
        resumed: an earlier call began this export.
    """

    dest: str
    identity: dict
    files: dict[str, Written] = field(default_factory=dict)
    resumed: bool = False

    @classmethod
    def open(cls, dest: str, identity: dict, names: Collection[str]) -> Journal:
        """Claim an empty folder for an export, or go on with one.

        Args:
            dest: folder or URI.
            identity: of the export, as JSON holds it.
            names: of all files that the export may have, relative to the folder.

        Raises:
            PipelineError: the folder holds another export, or files of others.
            StorageError: it cannot be read or written.
        """
        uri = storage.join(dest, NAME)
        if not storage.exists(uri):
            _check_names(dest, {})
            journal = cls(dest, identity)
            journal._save()
            return journal
        try:
            kept = json.loads(storage.read_bytes(uri))
            files = {name: Written(**told) for name, told in kept["files"].items()}
            found = dict(kept["identity"])
        except (ValueError, KeyError, TypeError, AttributeError):
            raise PipelineError(
                f"{storage.shown(uri)} is damaged; remove {storage.shown(dest)}, or choose another "
                "folder"
            ) from None
        if changed := _differences(found, identity):
            raise PipelineError(
                f"{storage.shown(dest)} holds another export; choose another folder. Changed: "
                f"{'; '.join(changed)}"
            )
        folders: dict[str, set[str]] = {}
        for name in names:
            folder, _, file = name.rpartition("/")
            folders.setdefault(folder, set()).add(file)
        _check_names(dest, folders)
        return cls(dest, identity, files, resumed=True)

    def has(self, name: str) -> bool:
        """Whether a file is finished and still has its size.

        Raises:
            StorageError: the storage does not tell.
        """
        written = self.files.get(name)
        return written is not None and self.size_of(name) == written.bytes

    def size_of(self, name: str) -> int | None:
        """Bytes of a file; None where there is none.

        Raises:
            StorageError: the storage does not tell.
        """
        try:
            return storage.size_of(storage.join(self.dest, name))
        except StorageError as e:
            if e.kind == "not_found":
                return None
            raise

    def write(self, name: str, data: bytes, rows: int = 0, missing: int = 0) -> None:
        """Write a file whole, then note that it is finished.

        Raises:
            StorageError: it cannot be written.
        """
        storage.write_bytes(storage.join(self.dest, name), data)
        self.files[name] = Written(len(data), rows, missing)
        self._save()

    def _save(self) -> None:
        files = {name: asdict(written) for name, written in self.files.items()}
        text = json.dumps({"identity": self.identity, "files": files}, indent=1)
        storage.write_bytes(storage.join(self.dest, NAME), text.encode())


def _differences(found: dict, wanted: dict) -> list[str]:
    return [
        f"{name} was {found.get(name)!r}, is {wanted.get(name)!r}{HINTS.get(name, '')}"
        for name in sorted(found.keys() | wanted.keys())
        if found.get(name) != wanted.get(name)
    ]


def _check_names(dest: str, allowed: dict[str, set[str]]) -> None:
    """Refuse a folder that holds other files than these; hidden ones are the user's own affair.

    Args:
        dest: folder or URI.
        allowed: folder in it -> names of files; ``""`` is ``dest`` itself.
    """
    for folder in {"": set(), **allowed}:
        below = {inner.partition("/")[0] for inner in allowed if inner and not folder}
        names = storage.list_names(storage.join(dest, folder) if folder else dest, files_only=False)
        strange = [name for name in names if name not in allowed.get(folder, set()) | below]
        if strange:
            more = f" and {len(strange) - NAMED} more" if len(strange) > NAMED else ""
            raise PipelineError(
                f"{storage.shown(dest)} holds files that are none of this export's "
                f"({', '.join(strange[:NAMED])}{more}); choose an empty folder"
            )
