"""``diffpir restore``: the common case, without a job file."""

from __future__ import annotations

from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from jobs.specfile import make_job
from manifests import storage
from manifests.build import build, write_manifest
from manifests.errors import ManifestError
from manifests.read import content_digest, read_manifest
from pipeline.spec import JobSpec

MANIFESTS = (".parquet", ".csv", ".jsonl", ".ndjson")


def restore_job(
    source: str, output: str, *, images: str | None, **settings: dict[str, Any] | Any
) -> JobSpec:
    """The job that restores the images of ``source``; options left at None are left out.

    ``source`` is a manifest, or anything that a manifest can be built from; in that case the
    manifest is kept as ``OUTPUT/manifest.parquet``.

    Raises:
        JobFileError: an option is wrong, or does not go with the task.
        ManifestError: no images, or other images than an earlier run of the same output had.
    """
    is_manifest = source.lower().endswith(MANIFESTS)
    manifest = source if is_manifest else storage.join(output, "manifest.parquet")
    spec = make_job(
        {
            "manifest": manifest,
            "output": output,
            "images": images or storage.join(output, "images"),
            **{name: _given(value) for name, value in settings.items() if value is not None},
        },
        "options",
    )
    if is_manifest:
        return spec
    table = _keep_manifest(source, manifest, [output, spec.images])
    # The source is the user's own word, wherever the manifest that was made of it lies.
    schemes = sorted({storage.scheme_of(image) for image in table["image"].to_pylist()})
    return spec.model_copy(update={"allowed_schemes": tuple(schemes)})


def _keep_manifest(source: str, manifest: str, made: list[str]) -> pa.Table:
    table = build(source)
    for folder in made:  # it may lie in the source: its pictures are not to be restored again
        inside = pc.starts_with(table["image"], storage.absolute(folder) + "/")
        table = table.filter(pc.invert(inside))
    if not len(table):
        raise ManifestError(f"{source}: no images but those made by an earlier run")
    if not storage.exists(manifest):
        write_manifest(table, manifest)
    elif content_digest(read_manifest(manifest)) != content_digest(table):
        raise ManifestError(
            f"{manifest} names other images than {source} holds now; choose another output"
        )
    return table


def _given(value: Any) -> Any:
    if isinstance(value, dict):
        return {k: v for k, v in value.items() if v is not None}
    return value
