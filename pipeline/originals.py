"""The files that a job reads are never written over by the pictures that it makes."""

from __future__ import annotations

import os.path
from collections.abc import Iterator
from functools import cache

import pyarrow as pa

from manifests import storage
from manifests.schema import is_parametric
from pipeline.errors import PipelineError
from pipeline.pictures.naming import SUFFIXES, image_path
from pipeline.spec import JobSpec
from pipeline.steps import FILES


def check_originals(spec: JobSpec, table: pa.Table) -> None:
    """No picture may go where a file of the manifest lies, under whatever name of its folder.

    Raises:
        PipelineError: one would; names it.
    """
    if not spec.images:
        return
    suffix = SUFFIXES[spec.picture.format]
    base = storage.parent(storage.absolute(spec.manifest))
    # Rows are many and folders few: only folders are looked up on disk, each once.
    source = cache(lambda folder: _real(storage.resolve(base, folder)))
    target = cache(lambda folder: _real(_folder(_picture(spec.images, f"{folder}x", suffix))))
    ids = table["id"].to_pylist()
    folders = {target(_folder(image_id)) for image_id in ids}
    originals = {
        storage.join(source(_folder(file)), _name(file))
        for file in _named(table)
        if source(_folder(file)) in folders
    }
    for image_id in ids if originals else ():
        picture = _picture(spec.images, image_id, suffix)
        if storage.join(target(_folder(image_id)), _name(picture)) in originals:
            raise PipelineError(
                f"images: the picture of {image_id!r} would overwrite {storage.shown(picture)}, "
                "which the manifest names; choose another folder"
            )


def _named(table: pa.Table) -> Iterator[str]:
    """The files of all rows, as the manifest names them."""
    for name in FILES:
        if name in table.column_names:
            for file in table[name].to_pylist():
                if file and not (name == "kernel" and is_parametric(file)):
                    yield file


def _picture(images: str, image_id: str, suffix: str) -> str:
    return storage.join(images, image_path(image_id, suffix))


def _folder(file: str) -> str:
    """With its last slash, which alone tells ``/a`` from ``a``."""
    return file[: file.rfind("/") + 1]


def _name(file: str) -> str:
    return file[file.rfind("/") + 1 :]


def _real(folder: str) -> str:
    """The one name of a folder that has several."""
    folder = storage.absolute(folder)
    if storage.is_local(folder):
        return os.path.realpath(folder)
    return f"{storage.scheme_of(folder)}://{folder.partition('://')[2]}"
