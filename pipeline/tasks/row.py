"""A row of a manifest with its files: what a task poses a problem from."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import torch
from torch import Tensor

from diffpir.randomness import generator, image_seed
from pipeline.errors import RowError
from pipeline.pictures.values import Values
from pipeline.tasks.assets import Assets
from pipeline.tasks.noise import Noise, row_noise

if TYPE_CHECKING:
    from pipeline.spec.job import JobSpec


AS_STORED = Values()


@dataclass(frozen=True)
class Inputs:
    """A row's decoded files: images (H, W) or (H, W, C), kernel (kh, kw).

    ``mask`` is of a file, or what the image itself tells: (H, W) bool, or (H, W, C) where each
    channel is hidden by itself. ``stored`` is the image as a JPEG file stores it
    (:mod:`pipeline.pictures.jpeg_array`).
    ``noise_map`` (h, w) holds standard deviations.
    """

    image: np.ndarray
    reference: np.ndarray | None = None
    mask: np.ndarray | None = None
    kernel: np.ndarray | None = None
    noise_map: np.ndarray | None = None
    stored: np.ndarray | None = None


@dataclass(frozen=True)
class Row:
    """A row of a manifest with its files: what a problem is posed from.

    Attributes:
        values: of the manifest's columns; ``noise_level``, ``noise`` and ``seed`` win over the
            job's.
        files: decoded; the kernel, the mask and the noise map win as well.
        spec: of the job.
        assets: of the job's task.
        channels: that the prior takes.
    """

    values: dict
    files: Inputs
    spec: JobSpec
    assets: Assets
    channels: int = 3

    @cached_property
    def image(self) -> Tensor:
        """(1, C, H, W) on [0, 1], C being those of the prior, or of the image if it takes one."""
        image = self.tensor_of(self.files.image, "image")
        # Of a JPEG file that stores colours, all of them are looked at.
        single = self.channels == 1 and self.grey and not self.spec.task.reads_stored
        return image[:, :1] if single else image

    @cached_property
    def grey(self) -> bool:
        """Whether the image has no colours. Many a grey picture has three equal channels."""
        picture = self.files.image
        if picture.ndim == 2:
            return True
        equal = self.spec.task.equal_channels_are_grey and picture.shape[2] == 3
        return equal and bool((picture == picture[:, :, :1]).all())

    def tensor_of(self, picture: np.ndarray, what: str) -> Tensor:
        """A decoded file of the row, as :func:`to_tensor` makes it for the job's prior.

        Raises:
            RowError: ``wrong_format``: it has other channels; ``bad_pixels``: numbers of another
                range.
        """
        x = to_tensor(picture, self.channels, Values.of(self.spec), what)
        if self.spec.channels == "luma" and x.shape[1] not in (1, 3):
            raise RowError(
                f"the {what} has {x.shape[1]} channels, and channels: luma is for colours (3)",
                "wrong_format",
            )
        return x

    @property
    def noise(self) -> float | Literal["auto"] | Noise | np.ndarray:
        """sigma_n, ``auto``, a model, or a map (h, w): the row's, or else the job's.

        Raises:
            RowError: nobody gives one, or the row two.
        """
        given = {name: own(self.values, name, None) for name in ("noise_level", "noise")}
        given["noise_map"] = self.files.noise_map
        names = [name for name, value in given.items() if value is not None]
        if len(names) > 1:
            raise RowError(f"{' and '.join(names)}: a row gives one of them", "bad_value")
        task = self.spec.task
        if names == ["noise"]:
            try:
                return row_noise(given["noise"])
            except RowError as e:
                raise RowError(f"noise: {e}", e.kind) from None
        if names:
            return given[names[0]]
        if task.noise:
            return self.assets.arrays["noise_map"][0] if task.noise.map else task.noise
        if task.noise_level is None:
            raise RowError(
                "no noise_level: neither the row nor the task gives one", "missing_input"
            )
        return task.noise_level

    @property
    def noise_level(self) -> Any:
        """:attr:`noise`, a level or ``auto``, for tasks that take one level alone.

        Raises:
            RowError: there is none, or a model.
        """
        noise = self.noise
        if isinstance(noise, Noise | np.ndarray):
            raise RowError("noise: this task takes one noise_level", "bad_value")
        return noise

    def seed_of(self, purpose: str) -> int:
        """The seed of one random choice: of this image alone, and of this purpose."""
        seed = own(self.values, "seed", self.spec.seed)
        return image_seed(seed, self.values["id"], purpose)

    def rng(self, purpose: str) -> np.random.Generator:
        return generator(self.seed_of(purpose))


def to_tensor(
    picture: np.ndarray, channels: int = 3, values: Values = AS_STORED, what: str = "image"
) -> Tensor:
    """(H, W) or (H, W, C) numbers -> (1, C, H, W) float32, 0 for black and 1 for white.

    Args:
        picture: as it was decoded.
        channels: that the prior takes. One of a single channel takes any number of them, each by
            itself; one of three takes a grey picture for three equal channels.
        values: which numbers are black and white.
        what: the picture is, for the errors.

    Raises:
        RowError: ``wrong_format``: it has other channels; ``bad_pixels``: numbers of another range.
    """
    planes = np.atleast_3d(values.read(picture, what)).transpose(2, 0, 1)
    found = len(planes)
    if channels == 3 and found == 1:
        planes = np.repeat(planes, 3, axis=0)
    elif channels not in (1, found):
        raise RowError(
            f"the {what} has {found} {'channel' if found == 1 else 'channels'}, and the prior "
            f"takes {channels}",
            "wrong_format",
        )
    return torch.from_numpy(np.ascontiguousarray(planes))[None]


def own(row: dict, column: str, otherwise):
    """The row's value where it gives one: a missing column, null and NaN do not."""
    value = row.get(column)
    return otherwise if value is None or value != value else value


def size_text(x: Tensor) -> str:
    return f"{x.shape[3]} x {x.shape[2]}"
