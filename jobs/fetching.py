"""Known priors: what there is, and fetching them while a person looks on."""

from __future__ import annotations

import sys

import typer

from pipeline.errors import PipelineError
from pipeline.priors.known import KNOWN, fetch, place_of
from pipeline.spec.model import Model


def list_known() -> str:
    """The known priors, four lines each."""
    lines = []
    for name, known in KNOWN.items():
        size = f"{known.bytes / 1e6:.0f} MB" if known.bytes else "size unknown"
        here = f"here: {place_of(name)}" if place_of(name).exists() else "not fetched"
        lines += [
            f"{name}: {known.about}",
            f"  {known.url}",
            f"  {size}; licence: {known.licence}",
            f"  SHA-256: {known.sha256 or 'that of the first download'}; {here}",
        ]
    return "\n".join(lines)


def fetch_shown(name: str) -> str:
    """Fetch a known prior with a progress bar on stderr; returns where it is.

    Raises:
        PipelineError: there is none of that name.
        StorageError: it cannot be had, or is another file than it was.
    """
    if name not in KNOWN:
        raise PipelineError(f"{name!r} is none of {', '.join(KNOWN)}")
    if place_of(name).exists():
        return str(place_of(name))
    expected = KNOWN[name].bytes
    with typer.progressbar(
        length=expected or 1, label=f"{name} (MB)", file=sys.stderr, show_pos=False
    ) as bar:
        told = 0

        def on_bytes(done: int, total: int | None) -> None:
            nonlocal told
            bar.length = total or expected or max(bar.length or 1, done)
            bar.update(done - told)
            told = done

        return str(fetch(name, on_bytes))


def fetch_of(model: Model) -> None:
    """Fetch the prior of a job, if it is a known one that is not here yet."""
    if model.path in KNOWN:
        fetch_shown(model.path)
