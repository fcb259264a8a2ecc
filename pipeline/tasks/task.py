"""What a task is: one kind of degradation, with everything that is particular to it.

Each kind is a subclass of :class:`Task` in a module of its own, and has an entry in the registry
(:mod:`pipeline.tasks`). The rest of the project asks the task and never looks at its kind. The
methods that compute import PyTorch when they are called: whoever only reads a job needs none.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from pydantic import model_validator

from diffpir.config import PRESETS, SamplerConfig
from diffpir.errors import EstimationError
from pipeline.errors import RowError
from pipeline.spec.base import Spec
from pipeline.tasks.assets import AssetFile
from pipeline.tasks.defaults import USUAL, Defaults
from pipeline.tasks.noise import NoiseField, model_of_map, noise_map_file
from pipeline.tasks.noise_level import NoiseLevel
from pipeline.tasks.parts import Arrays, BatchParts, Mode, Parts, mask_of

if TYPE_CHECKING:
    import pyarrow as pa
    from torch import Tensor

    from diffpir.noise_model import NoiseModel
    from diffpir.operators import Operator
    from pipeline.pictures.pixel_mask import PixelMask
    from pipeline.tasks.row import Row


class Task(Spec):
    """One kind of degradation. A subclass defines its fields, and :meth:`operator_for` at least.

    Attributes:
        kind: the name that jobs give; a ``Literal`` of one name in each subclass.
        noise_level: standard deviation of the measurement's noise, pixels on [0, 1]; ``auto`` to
            tell it from each image.
        noise: what it is like where one number does not say; in place of ``noise_level``.
        columns: of a manifest, naming files that the task reads besides the image.
        required: fields that a column of the manifest must hold where the job gives none.
        example: field -> YAML, of a job that restores, to begin with.
        of_benchmarks: fields that say how clean images are degraded.
        presets: name -> settings; the one named as the kind is the default.
        benchmarks: name -> fields of the tasks that the quality benchmarks measure.
        gives_colour: a restored image has colours even if the measurement is grey.
        equal_channels_are_grey: an image of three equal channels is taken for a grey one.
        is_linear: the operator is, so that other methods than ``diffpir`` can do it.
    """

    kind: str
    noise_level: NoiseLevel | None = None
    noise: NoiseField = None

    columns: ClassVar[tuple[str, ...]] = ()
    required: ClassVar[tuple[str, ...]] = ("noise_level",)
    example: ClassVar[Mapping[str, str]] = {"noise_level": "0.02"}
    of_benchmarks: ClassVar[tuple[str, ...]] = ()
    presets: ClassVar[Mapping[str, Defaults]] = {}
    benchmarks: ClassVar[Mapping[str, Mapping[str, Any]]] = {}
    gives_colour: ClassVar[bool] = False
    equal_channels_are_grey: ClassVar[bool] = True
    is_linear: ClassVar[bool] = True

    # What a job says

    @model_validator(mode="before")
    @classmethod
    def _one_noise(cls, value: Any) -> Any:
        if not isinstance(value, dict) or value.get("noise") is None:
            return value
        if not cls.is_linear:
            raise ValueError("noise: this task takes one noise_level")
        if value.get("noise_level") is not None:
            raise ValueError(
                "noise and noise_level are both given, expected one of them: noise_level is one "
                "standard deviation for all pixels, noise a model such as {gaussian: 0.01, "
                "poisson: 0.004}"
            )
        return {**value, "noise_level": None}  # not the task's usual one

    def check(self, mode: Mode) -> None:
        """Refuse what does not go with the mode.

        Raises:
            ValueError: names the field.
        """
        if mode == "benchmark" and self.noise_level == "auto":
            raise ValueError(
                "task.noise_level: auto belongs to mode restore; a benchmark makes the noise, so "
                "give its standard deviation"
            )
        if self.noise and self.is_compressed:
            raise ValueError("task.noise: with then: jpeg the noise is one noise_level")
        if mode == "benchmark" and self.noise and self.noise.is_estimated:
            raise ValueError(
                "task.noise: auto belongs to mode restore; a benchmark makes the noise"
            )

    @property
    def enlargement(self) -> int:
        """How many times wider and higher a restored image is than its measurement."""
        return 1

    def peak(self, mode: Mode) -> float:
        """The highest value of a scene, where that of the measurement's file is 1."""
        return 1.0

    @property
    def missing(self) -> list[str]:
        """The required fields that the job does not give."""
        missing = [name for name in self.required if getattr(self, name) is None]
        return [name for name in missing if not (name == "noise_level" and self.noise)]

    @property
    def preset(self) -> str:
        """The name among ``presets`` that fits these fields."""
        return self.kind

    def defaults(self) -> Defaults:
        """The sampler's settings of a job that gives none."""
        return self.presets.get(self.preset, USUAL)

    def rival_defaults(self, method: str) -> SamplerConfig:
        """The settings of a method to compare with (:mod:`diffpir.methods`), its authors' own."""
        return PRESETS[method]

    def decomposes(self, mode: Mode, columns: Collection[str]) -> bool:
        """Whether operators have their singular values at hand, with such columns of a manifest."""
        return True

    def files(self) -> dict[str, str]:
        """Field -> path or URI, of the files that the job itself names."""
        return {"noise.map": self.noise.map} if self.noise and self.noise.map else {}

    def code(self) -> dict[str, str]:
        """Field -> ``module:factory``, of the user's own code that the job names."""
        return {}

    def identity(self, mode: Mode) -> dict[str, Any]:
        """All that decides results, as plain JSON values; files are known by their content."""
        fields = self.model_dump(mode="json")
        if fields["noise"] and fields["noise"]["map"]:
            fields["noise"]["map"] = True
        return fields

    def all_assets(self, mode: Mode, kernels: Iterable[pa.ChunkedArray]) -> Iterator[AssetFile]:
        """What :meth:`assets` gives, and the map of the job's noise."""
        yield from self.assets(mode, kernels)
        yield from noise_map_file(self.noise)

    def assets(self, mode: Mode, kernels: Iterable[pa.ChunkedArray]) -> Iterable[AssetFile]:
        """The files and objects that the job names, read and checked.

        Args:
            mode: of the job.
            kernels: the manifest's column ``kernel`` in batches, if it has one.

        Raises:
            PipelineError: one cannot be had; names the field.
        """
        return ()

    def caption(self, row: Mapping[str, Any], result: Mapping[str, Any]) -> Iterator[str]:
        """Words for a contact sheet.

        Args:
            row: of the manifest.
            result: of the same row.
        """
        yield self.kind

    @property
    def is_compressed(self) -> bool:
        """Whether what was measured was stored as a JPEG file since."""
        return False

    @property
    def reads_stored(self) -> bool:
        """Whether what a JPEG file stores is measured, not the pixels that it decodes to."""
        return self.is_compressed

    @property
    def pixel_mask(self) -> PixelMask | None:
        """What tells the hidden pixels of a picture, if the picture itself does."""
        return None

    # What a row's problem is

    def parts(self, row: Row) -> Parts:
        """What the operator of a row's image is made of.

        Raises:
            RowError: it cannot be had.
        """
        return Parts()

    def measured_size(self, row: Row, arrays: Arrays) -> tuple[int, int]:
        """(h, w) of the measurement: the image's, or what a benchmark can make of the image.

        Raises:
            RowError: the image is too small.
        """
        height, width = row.image.shape[2:]
        if row.spec.mode == "benchmark":
            return height // self.enlargement, width // self.enlargement
        return height, width

    def operator_for(self, batch: BatchParts) -> Operator:
        """The operator of a batch of images that share all shapes."""
        raise NotImplementedError

    def measured(self, row: Row, arrays: Arrays, operator: Operator) -> tuple[Tensor, bool]:
        """In mode restore: the measurement (1, c, h, w) that an image is, and whether it is grey.

        Raises:
            RowError: the image is none of this task's measurements.
        """
        return row.image, row.grey

    def scene(self, image: Tensor, size: tuple[int, int], operator: Operator) -> Tensor:
        """In mode benchmark: the part of a clean image that the operator looks at."""
        import torch
        import torch.nn.functional as F

        height, width = operator.initial(torch.zeros(1, 1, *size)).shape[2:]
        scene = image[..., :height, :width]
        # A scene may extend further than the operator looks: what is there does not matter.
        missing = width - scene.shape[3], height - scene.shape[2]
        return F.pad(scene, (0, missing[0], 0, missing[1]), "replicate")

    def degraded(self, row: Row, scene: Tensor, operator: Operator, grey: bool) -> Tensor:
        """In mode benchmark: a measurement of the scene, with noise.

        Raises:
            RuntimeError, ValueError: the operator cannot be applied to the scene.
        """
        return self.with_noise(row, operator.forward(scene), operator, grey)

    def with_noise(self, row: Row, a: Tensor, operator: Operator, grey: bool) -> Tensor:
        """A measurement without noise, ``a``, with the noise that the row or the job gives."""
        from diffpir.synthesis import add_noise

        noise = self.noise_in(row, a, operator, {})
        return add_noise(a, noise, row.seed_of("noise"), operator, grey=grey)

    def noise_in(
        self, row: Row, y: Tensor, operator: Operator, arrays: Arrays
    ) -> float | NoiseModel:
        """The noise of a measurement: given, or told from y.

        Raises:
            RowError: it does not fit y, or cannot be told from it.
        """
        from diffpir.noise_model import NoiseModel

        noise = row.noise
        if isinstance(noise, float | int):
            return float(noise)
        if isinstance(noise, str):  # auto
            return self.estimated_noise(y, arrays)
        if not self.is_linear or self.is_compressed:
            raise RowError("noise: this task takes one noise_level", "bad_value")
        if isinstance(noise, np.ndarray):
            return model_of_map(noise, y)
        if noise.is_estimated:
            if row.spec.mode == "benchmark":
                raise RowError("noise: auto belongs to mode restore", "bad_value")
            return NoiseModel(*self.estimated_curve(y, arrays))
        gaussian, poisson = (
            self.channel_levels(row, level, y, operator) if isinstance(level, tuple) else level
            for level in noise.levels
        )
        if isinstance(gaussian, float) and poisson == 0.0:
            return gaussian
        return NoiseModel(gaussian, poisson)

    def channel_levels(
        self, row: Row, levels: tuple[float, ...], y: Tensor, operator: Operator
    ) -> Tensor:
        """Levels of three channels, with four axes that broadcast against y.

        Raises:
            RowError: ``size_mismatch``: y has one channel, or three equal ones.
        """
        import torch

        if y.shape[1] != len(levels) or row.grey:
            text = (
                f"noise: {len(levels)} levels are given, one for each channel; the picture is grey"
            )
            raise RowError(text, "size_mismatch")
        return torch.tensor(levels).reshape(1, -1, 1, 1)

    def noise_sample(self, y: Tensor) -> Tensor:
        """A measurement as noise is estimated from it: neighbours of a channel are alike."""
        return y

    def compression(self, row: Row, y: Tensor, grey: bool) -> tuple[Tensor, Parts]:
        """What is left of a measurement that ``is_compressed``, and what its file stores.

        Args:
            row: of the measurement.
            y: the measurement: in mode restore what was left of it, and else before.
            grey: it has three equal channels.

        Raises:
            RowError: the file is none that can be used.
        """
        raise NotImplementedError

    def estimated_noise(self, y: Tensor, arrays: Arrays) -> float:
        """The noise level that a measurement shows.

        Raises:
            RowError: too little of the measurement is known and exposed well.
        """
        from diffpir.noise import estimate_noise

        try:
            return estimate_noise(self.noise_sample(y), mask_of(arrays))
        except EstimationError as e:
            raise RowError(f"noise_level: auto: {e}", "missing_input") from None

    def estimated_curve(self, y: Tensor, arrays: Arrays) -> tuple[float, float]:
        """The numbers ``gaussian`` and ``poisson`` of the noise that a measurement shows.

        Raises:
            RowError: too little of the measurement is known and exposed well.
        """
        from diffpir.noise_curve import estimate_noise_curve

        try:
            return estimate_noise_curve(self.noise_sample(y), mask_of(arrays))
        except EstimationError as e:
            raise RowError(f"noise: auto: {e}", "missing_input") from None

    def guess(self, operator: Operator, y: Tensor, arrays: Sequence[Arrays]) -> Tensor:
        """(B, 3, H, W): the scenes as far as y alone tells. The start image, and the baseline."""
        return operator.initial(y)
