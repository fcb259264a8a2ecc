"""A job that was checked: what a run is made of."""

from __future__ import annotations

from dataclasses import dataclass

from manifests import storage
from manifests.manifest import Manifest
from pipeline.output.layout import Layout
from pipeline.spec.job import JobSpec
from pipeline.tasks.assets import Assets
from pipeline.versions import Versions


@dataclass(frozen=True)
class Job:
    """A job that nothing was found wrong with.

    Attributes:
        spec: what was asked for.
        manifest: its rows.
        rows: how many.
        version: of the manifest's files; None where storage does not tell.
        assets: the specification's own files.
        model: ``builtin``, or the absolute path or URI of the checkpoint.
        channels: that the prior takes.
        versions: what every worker must find.
        identity: all that decides the results: a resumed run must agree in it.
    """

    spec: JobSpec
    manifest: Manifest
    rows: int
    version: str | None
    assets: Assets
    model: str
    channels: int
    versions: Versions
    identity: dict

    @property
    def layout(self) -> Layout:
        return Layout(storage.absolute(self.spec.output))
