"""``diffpir restore``: the common case, without a job file."""

from __future__ import annotations

import os.path
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import typer

from jobs.console import say, say_left_out
from jobs.option_names import OF_TASK, option_of
from jobs.specfile import JobFileError, make_job
from manifests import storage
from manifests.build import build, write_manifest
from manifests.digest import content_digest
from manifests.errors import ManifestError
from manifests.read import has_rows, read_manifest
from manifests.schema import is_parametric
from manifests.secrets import redacted
from manifests.storage.hosts import is_entry
from manifests.uris import host_of
from pipeline.output.layout import Layout
from pipeline.spec.base import parse_text
from pipeline.spec.job import JobSpec
from pipeline.tasks.masks import mask_fields


def restore_job(
    sources: Sequence[str],
    output: str,
    *,
    images: str | None,
    scratch: str | None = None,
    **settings: dict[str, Any] | Any,
) -> JobSpec:
    """The job that restores the images of ``sources``; options left at None are left out.

    Args:
        sources: a manifest, files that hold pictures or the output of another job; or one or
            several of which a manifest can be built. That is kept as ``OUTPUT/manifest.parquet``.
        output: folder or URI.
        images: folder or URI of the restored pictures; None for ``OUTPUT/images``.
        scratch: a folder for the manifest that is built, where nothing is to be written to the
            output.
        settings: fields of the job.

    Raises:
        JobFileError: an option is wrong, or does not go with the task.
        ManifestError: no images, or other images than an earlier run of the same output had.
    """
    is_manifest = len(sources) == 1 and _has_rows(sources[0])
    manifest = sources[0] if is_manifest else storage.join(output, "manifest.parquet")
    if scratch and not is_manifest and not storage.exists(manifest):
        manifest = storage.join(scratch, "manifest.parquet")
    images = images or storage.join(output, "images")
    spec = make_job(
        {
            "manifest": manifest,
            "output": output,
            "images": images,
            **{name: _given(value) for name, value in settings.items() if value is not None},
        },
        "options",
    )
    if is_manifest:
        return spec
    if spec.columns:
        raise JobFileError(
            f"--{next(iter(spec.columns))}-column: {_shown(sources)} has no columns; the "
            "option goes with a manifest or with Parquet files as SOURCE"
        )
    for source in sources if len(sources) > 1 else ():
        if _has_rows(source):
            raise ManifestError(
                f"{storage.shown(source)}: a manifest, Parquet or tar files, or the output of a "
                "job go with no other source; of several files give one name in quotes, such as "
                "'shards/*.parquet'"
            )
    _check_told(spec)
    table = _keep_manifest(sources, manifest, spec, images)
    # The source is the user's own word, wherever the manifest that was made of it lies.
    named = table["image"].to_pylist()
    schemes = {storage.scheme_of(image) for image in named}
    hosts = {host for host in map(host_of, named) if host and is_entry(host)}
    allowed = {"allowed_schemes": tuple(sorted(schemes)), "allowed_hosts": tuple(sorted(hosts))}
    return spec.model_copy(update=allowed)


def _has_rows(source: str) -> bool:
    """Whether it is a manifest, or stands for one."""
    return has_rows(source) or storage.exists(Layout(storage.absolute(source)).run)


def _shown(sources: Sequence[str]) -> str:
    more = f" and {len(sources) - 1} more" if len(sources) > 1 else ""
    return storage.shown(sources[0]) + more


def grown_mask(mask: str | None, grow: int | None) -> str | dict[str, Any] | None:
    """The task's field ``mask`` of two options.

    Raises:
        JobFileError: there is no mask to grow, or one that is written wrongly.
    """
    if grow is None:
        return mask
    if mask is None:
        raise JobFileError("--grow: it goes with --mask")
    try:
        return mask_fields(mask) | {"grow": grow}
    except ValueError as e:
        raise JobFileError(f"--mask: {e}, got {redacted(mask, [mask])!r}") from None


def noise_fields(option: str | None) -> dict[str, Any]:
    """The fields of a task that ``--noise`` stands for.

    It is a level or ``auto``; a model, as ``gaussian=0.01,poisson=0.004`` or ``map=FILE``, or
    written out as in a job.
    """
    if option is None or not ("=" in option or is_parametric(option)):
        return {"noise_level": option}
    if is_parametric(option):
        return {"noise": option}
    if option.startswith("map="):  # whose name may have commas
        return {"noise": {"map": option.removeprefix("map=")}}
    pairs = [part.partition("=") for part in option.split(",")]
    return {"noise": {name.strip(): value.strip() for name, _, value in pairs}}


def other_fields(options: Sequence[str] | None) -> dict[str, Any]:
    """The fields of a task that ``--set FIELD=VALUE`` gives, once or several times.

    Raises:
        JobFileError: one is written wrongly, is given twice, or has an option of its own.
    """
    fields: dict[str, Any] = {}
    for given in options or ():
        name, _, value = (part.strip() for part in given.partition("="))
        try:
            parsed = parse_text(f"{name}: {value}", "a value")
        except ValueError:
            parsed = {}
        if not name.isidentifier() or list(parsed) != [name] or parsed[name] is None:
            shown = redacted(given, [given])
            raise JobFileError(f"--set: expected FIELD=VALUE, such as pattern=bggr, got {shown!r}")
        if name == "kind" or name in OF_TASK.split():
            raise JobFileError(f"--set {name}: give it by {option_of(name)}")
        if name in fields:
            raise JobFileError(f"--set {name}: it is given twice")
        fields |= parsed
    return fields


def _check_told(spec: JobSpec) -> None:
    """What a manifest's columns could say must be said by options."""
    for field in spec.task.missing:
        raise JobFileError(
            f"{option_of(field)} is required to {spec.task.kind} pictures (or a manifest as SOURCE "
            f"with a column {field!r})"
        )


def _keep_manifest(sources: Sequence[str], manifest: str, spec: JobSpec, images: str) -> pa.Table:
    """The images of the sources, as the output's manifest keeps them from its first run on."""
    table = build(sources, say_left_out)
    for source in sources:
        _say_inside(source, spec.output, table)
    kept = read_manifest(manifest) if storage.exists(manifest) else None
    begun = storage.exists(Layout(spec.output).run)
    if kept is not None or begun:
        # The output may lie in the source: what came there since is not to be restored too.
        known = set() if kept is None else set(kept["image"].to_pylist())
        places = tuple(_place(folder).rstrip("/") + "/" for folder in (spec.output, images))
        wanted = [
            image in known or not _place(image).startswith(places)
            for image in table["image"].to_pylist()
        ]
        table = table.filter(pa.array(wanted, pa.bool_()))
        if left := wanted.count(False):
            where = storage.shown(spec.output)
            typer.echo(f"{left} pictures left out, which came since {where} was begun", err=True)
    if not len(table):
        raise ManifestError(f"{_shown(sources)}: no images but those made by an earlier run")
    if kept is None:
        write_manifest(table, manifest)
    elif content_digest([kept]) != content_digest([table]):
        unused = not (begun or _made(spec.output, images))
        hint = ", or remove that file, of which no results were made" if unused else ""
        raise ManifestError(
            f"{storage.shown(manifest)} names other images than {_shown(sources)} holds now; "
            f"choose another output{hint}"
        )
    return table


def _say_inside(source: str, output: str, table: pa.Table) -> None:
    """Words for those whose outputs lie among their pictures."""
    top = _place(source).rstrip("/") + "/"
    if not storage.is_local(source) or not os.path.isdir(top):
        return
    own = _place(output)
    if own.startswith(top):
        say(
            f"the output {own} lies inside the source: this job leaves its own pictures out, but a "
            "job with another output would restore them again; better keep outputs elsewhere"
        )
    named = {os.path.dirname(image) for image in table["image"].to_pylist()}
    folders = {Path(_place(folder)) for folder in named if storage.is_local(folder)}
    folders |= {parent for folder in folders for parent in folder.parents}
    for folder in sorted(str(folder) for folder in folders):
        if folder.startswith(top) and folder != own and os.path.exists(Layout(folder).run):
            say(
                f"{folder} is the output of another job, whose restored pictures are restored "
                "again here; to leave them out, move that folder out of the source"
            )


def _place(uri: str) -> str:
    """Where it lies, whatever links lead to it."""
    uri = storage.absolute(uri)
    return os.path.realpath(uri) if storage.is_local(uri) else uri


def _made(output: str, images: str) -> bool:
    """Whether anything stands where results do."""
    folders = (Layout(output).results, images)
    return any(storage.list_names(folder, files_only=False) for folder in folders)


def _given(value: Any) -> Any:
    if isinstance(value, dict):
        return {k: v for k, v in value.items() if v is not None}
    return value
