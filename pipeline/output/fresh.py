"""Starting a job in an output that holds files already: an earlier run's, or the user's own."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence

from manifests import storage
from pipeline.errors import PipelineError
from pipeline.output import drivers, parts, plan
from pipeline.output.drivers import Heartbeat, in_words
from pipeline.output.layout import Layout
from pipeline.output.pictures import remove_pictures
from pipeline.output.record import read_record

NAMED = 3  # files that a message names at most


def check_unclaimed(layout: Layout) -> None:
    """Refuse an output without a run that holds what would be taken for the run's results.

    Raises:
        PipelineError: it does; names the files.
    """
    if storage.exists(layout.run):
        return
    found = [f"results/{name}" for name in _results(layout)]
    if storage.exists(layout.summary):
        found.append("summary.json")
    # Looked for once more: another driver may have begun, and it records the run before its parts.
    if found and not storage.exists(layout.run):
        raise PipelineError(
            f"{storage.shown(layout.output)} holds {_some(found)}, but no run.json that says of "
            "which job; choose another output, or move them elsewhere"
        )


def check_strange(layout: Layout, names: Sequence[str]) -> None:
    """Refuse these files in ``results/``: no run made them, and readers would take them for parts.

    Raises:
        PipelineError: there are some; names them.
    """
    if names:
        raise PipelineError(
            f"{storage.shown(layout.results)} holds {_some(names)}, which no run made and a reader "
            "of *.parquet would take for results; move them elsewhere, or choose another output"
        )


def begin_anew(
    layout: Layout, overwrite: bool, spared: Callable[[str], bool] = lambda _: False
) -> None:
    """Refuse an output that holds a run, or with ``overwrite`` remove that run's files.

    Only what has the name of a run's file is removed, the pictures that its results name, and a
    ``run.json`` (with ``summary.json``) that is a run's by its content; it goes last, so that a
    removal that was killed is still a run's output, and can be removed again.

    Args:
        layout: of the output.
        overwrite: remove it.
        spared: says of a picture's path or URI whether it is to stay: the new job may read it.

    Raises:
        PipelineError: the output holds a run, a driver is at work there, or ``run.json`` or files
            that would be taken for results are none of a run's.
    """
    begun = storage.exists(layout.run)
    images = read_record(layout).spec.get("images") if begun else None
    results = _results(layout)
    held = {
        layout.results: [name for name in results if parts.parse(name)],
        layout.plans: _matching(layout.plans, plan.NAME),
        layout.drivers: _matching(layout.drivers, drivers.NAME),
    }
    if not begun and (storage.exists(layout.summary) or not any(held.values())):
        check_unclaimed(layout)
        return
    name = storage.shown(layout.output)
    if not overwrite:
        raise PipelineError(
            f"{name} holds an earlier run; choose another output, or give --overwrite to remove it"
        )
    check_strange(layout, [name for name in results if not parts.parse(name)])
    if held[layout.drivers]:
        with Heartbeat(layout) as heartbeat:
            live = heartbeat.others()
        if live:
            raise PipelineError(f"{name}: another driver is at work there: {in_words(live)}")
    # A relative path is of an earlier version, and whatever folder that ran in.
    if images and storage.absolute(images) == images:
        remove_pictures(layout, held[layout.results], images, spared)
    for folder, names in held.items():
        for file in names:
            storage.remove(storage.join(folder, file))
        storage.remove_partials(folder)
    if begun:
        storage.remove(layout.summary)
        storage.remove(layout.run)


def _results(layout: Layout) -> list[str]:
    """What a reader of ``results/*.parquet`` would take for results."""
    return storage.list_names(layout.results, ".parquet", files_only=False)


def _matching(folder: str, pattern: re.Pattern[str]) -> list[str]:
    return [name for name in storage.list_names(folder) if pattern.fullmatch(name)]


def _some(names: Sequence[str]) -> str:
    more = f" and {len(names) - NAMED} more" if len(names) > NAMED else ""
    return ", ".join(names[:NAMED]) + more
