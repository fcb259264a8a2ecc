"""The files that a job reads are never written over by the pictures that it makes."""

from __future__ import annotations

import os.path
from collections.abc import Callable, Iterator
from functools import cache
from itertools import chain

from manifests import storage
from manifests.embedded import parse
from manifests.manifest import Manifest
from manifests.schema import FILES, is_parametric
from pipeline.errors import PipelineError
from pipeline.output.naming import SUFFIXES, image_path
from pipeline.spec.job import JobSpec
from pipeline.spec.model import is_named


def check_originals(spec: JobSpec, manifest: Manifest) -> None:
    """No picture may go where a file lies that the job reads, under whatever name.

    Raises:
        PipelineError: one would; names it.
    """
    images = spec.images
    if not images:
        return
    root = storage.absolute(images)
    if storage.is_local(root) and not os.path.exists(root):
        return  # nothing lies there: rows may be many
    suffix = SUFFIXES[spec.picture.format]
    base = manifest.base
    # Rows are many and folders few: each folder is resolved once, and of files only links.
    source = cache(lambda folder: _real(storage.resolve(base, folder)))
    target = cache(lambda folder: _real(_folder(_picture(images, f"{folder}x", suffix))))
    folders = {target(_folder(image_id)) for image_id in _ids(manifest)}
    originals: dict[str, str] = {}
    read = ((file, "the manifest names") for file in _named(manifest))
    for file, whose in chain(read, _of_job(spec)):
        folder = source(_folder(file))
        place = storage.join(folder, _name(file))
        if folder in folders:
            originals[place] = whose
        if storage.is_local(place) and os.path.islink(place):
            originals[_real(place)] = whose
    for image_id in _ids(manifest) if originals else ():
        picture = _picture(images, image_id, suffix)
        said = originals.get(storage.join(target(_folder(image_id)), _name(picture)))
        if said:
            raise PipelineError(
                f"images: the picture of {image_id!r} would overwrite {storage.shown(picture)}, "
                f"which {said}; choose another folder"
            )


def is_read(spec: JobSpec, manifest: Manifest) -> Callable[[str], bool]:
    """Says of an absolute path or a URI whether it is a file that the job reads."""

    @cache
    def places() -> frozenset[str]:  # found when they are first asked for: rows may be many
        named = (storage.resolve(manifest.base, file) for file in _named(manifest))
        return frozenset(map(_real, (*named, *(file for file, _ in _of_job(spec)))))

    return lambda file: _real(file) in places()


def _ids(manifest: Manifest) -> Iterator[str]:
    for ids in manifest.column("id"):
        yield from ids.to_pylist()


def _named(manifest: Manifest) -> Iterator[str]:
    """The files of all rows, as the manifest names them; the same may come again."""
    for batch in manifest.batches():
        for name in FILES:
            if name not in manifest.schema.names:
                continue
            files = dict.fromkeys(map(_holder, batch.rows[name].to_pylist()))
            for file in files:
                if file and not (name == "kernel" and is_parametric(file)):
                    # As a path: a URI may be written in several ways.
                    local = storage.has_scheme(file) and storage.is_local(file)
                    yield storage.absolute(file) if local else file


def _holder(file: str | None) -> str | None:
    """The file itself, or the one that it lies in."""
    embedded = parse(file) if file else None
    return embedded.file if embedded else file


def _of_job(spec: JobSpec) -> Iterator[tuple[str, str]]:
    """The files that the specification itself names, absolute, and what is said of them."""
    files = {"manifest": spec.manifest}
    if not is_named(spec.model.path):
        files["model"] = spec.model.path
    files |= {f"model.{field}": file for field, file in spec.model.files.items()}
    files |= {f"task.{field}": file for field, file in spec.task.files().items()}
    for field, file in files.items():
        yield storage.absolute(file), f"the job reads ({field})"


def _picture(images: str, image_id: str, suffix: str) -> str:
    return storage.join(images, image_path(image_id, suffix))


def _folder(file: str) -> str:
    """With its last slash, which alone tells ``/a`` from ``a``."""
    return file[: file.rfind("/") + 1]


def _name(file: str) -> str:
    return file[file.rfind("/") + 1 :]


def _real(path: str) -> str:
    """The one name of a file or folder that has several."""
    path = storage.absolute(path)
    if storage.is_local(path):
        return path if "\0" in path else os.path.realpath(path)  # no file's, and it would raise
    return f"{storage.scheme_of(path)}://{path.partition('://')[2]}"
