"""Starting a job anew in an output that holds an earlier one's files."""

from __future__ import annotations

from manifests import storage
from pipeline.errors import PipelineError
from pipeline.output.drivers import Heartbeat, in_words
from pipeline.output.layout import Layout


def begin_anew(layout: Layout, overwrite: bool) -> None:
    """Refuse an output that holds a run, or with ``overwrite`` remove that run's files.

    Only what a run makes there is removed; ``run.json`` goes last, so that a removal that was
    killed is still a run's output, and can be removed again.

    Raises:
        PipelineError: the output holds a run, or a driver is at work there.
    """
    folders = (layout.results, layout.plans, layout.drivers)
    held = {folder: storage.list_names(folder) for folder in folders}
    if not storage.exists(layout.run) and not any(held.values()):
        return
    name = storage.shown(layout.output)
    if not overwrite:
        raise PipelineError(
            f"{name} holds an earlier run; choose another output, or give --overwrite to remove it"
        )
    if held[layout.drivers]:
        with Heartbeat(layout) as heartbeat:
            live = heartbeat.others()
        if live:
            raise PipelineError(f"{name}: another driver is at work there: {in_words(live)}")
    for folder, names in held.items():
        for file in names:
            storage.remove(storage.join(folder, file))
        storage.remove_partials(folder)
    storage.remove(layout.summary)
    storage.remove(layout.run)
