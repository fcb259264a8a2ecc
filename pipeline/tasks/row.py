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
from pipeline.tasks.assets import Assets
from pipeline.tasks.noise import Noise, row_noise

if TYPE_CHECKING:
    from pipeline.spec.job import JobSpec


@dataclass(frozen=True)
class Inputs:
    """A row's decoded files: pictures (H, W) or (H, W, 3), kernel (kh, kw).

    ``mask`` is of a file, or what the image itself tells: (H, W) bool, or (H, W, 3) where each
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
    """

    values: dict
    files: Inputs
    spec: JobSpec
    assets: Assets

    @cached_property
    def image(self) -> Tensor:
        """(1, 3, H, W) on [0, 1]."""
        return to_tensor(self.files.image)

    @cached_property
    def grey(self) -> bool:
        """Whether the image has no colours. Many a grey picture has three equal channels."""
        if self.files.image.ndim == 2:
            return True
        equal = self.spec.task.equal_channels_are_grey
        return equal and bool((self.image == self.image[:, :1]).all())

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


def to_tensor(picture: np.ndarray) -> Tensor:
    """(H, W) or (H, W, 3) unsigned integers -> (1, 3, H, W) float32 on [0, 1]."""
    scaled = picture.astype(np.float32) / np.iinfo(picture.dtype).max
    if scaled.ndim == 2:
        scaled = np.repeat(scaled[:, :, None], 3, axis=2)
    return torch.from_numpy(np.ascontiguousarray(scaled.transpose(2, 0, 1)))[None]


def own(row: dict, column: str, otherwise):
    """The row's value where it gives one: a missing column, null and NaN do not."""
    value = row.get(column)
    return otherwise if value is None or value != value else value


def size_text(x: Tensor) -> str:
    return f"{x.shape[3]} x {x.shape[2]}"
