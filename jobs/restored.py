"""Restored pictures of an output, as people see them."""

from __future__ import annotations

from PIL import Image

from jobs.thumbnails import rgb
from pipeline.fence.decoders import decode_picture
from pipeline.pictures.values import Values
from pipeline.spec.job import JobSpec


class RestoredPictures:
    """Shows the files that a job has made of scenes.

    Args:
        spec: of the job.
        channels: that its prior takes.
    """

    def __init__(self, spec: JobSpec, channels: int):
        self.spec, self.channels = spec, channels
        self.values = Values.of(spec)

    def __call__(self, file: bytes) -> Image.Image:
        """In RGB, on white where it is transparent.

        Raises:
            RowError: it cannot be read.
        """
        picture = decode_picture(
            file,
            max_pixels=self.spec.max_pixels,
            channels=self.channels,
            numbers=self.spec.picture.bits == 32,
        )
        return rgb(self.values.eight_bits(picture.pixels), picture.alpha)
