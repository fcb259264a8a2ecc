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
        model: where all machines find the prior: a name, or an absolute path or URI.
        channels: that the prior takes.
        versions: what every worker must find.
        identity: all that decides the results: a resumed run must agree in it.
        notes: what the user should hear of the job before it begins.
        activations: bytes for each pixel that the network keeps in fp32, where the method
            differentiates it.
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
    notes: tuple[str, ...] = ()
    activations: float | None = None

    def memory_note(self, batch_pixels: int) -> str:
        """What a user should know of memory before a job begins whose method takes gradients."""
        gib = (self.activations or 0) / 2**30
        return (
            f"{self.spec.sampler.asked} differentiates the network, whose activations then take "
            f"{gib * 2**16:.2g} GiB for a picture of 256 x 256 pixels, and up to "
            f"{gib * batch_pixels:.2g} GiB for a batch of {batch_pixels} pixels (batch_pixels), in "
            "each actor, with precision fp32; half of that with bf16 or fp16"
        )

    @property
    def pixel_ratio(self) -> int:
        """Pixels of a restored image for each pixel of the manifest's."""
        return self.spec.task.enlargement**2 if self.spec.mode == "restore" else 1

    @property
    def layout(self) -> Layout:
        return Layout(storage.absolute(self.spec.output))
