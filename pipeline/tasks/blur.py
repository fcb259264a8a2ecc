"""What tasks with a blur kernel have in common: deblurring, and super-resolution."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal

import numpy as np
from pydantic import Field

from diffpir.errors import EstimationError
from pipeline.errors import RowError
from pipeline.tasks.assets import AssetFile
from pipeline.tasks.compression import Compressible
from pipeline.tasks.defaults import Defaults
from pipeline.tasks.kernel_arrays import kernel_choice, kernel_file, make_kernel
from pipeline.tasks.kernels import ESTIMATE_RULE, Kernel
from pipeline.tasks.levin import levin_file
from pipeline.tasks.parts import Arrays, BatchParts, Mode, Parts

if TYPE_CHECKING:
    import pyarrow as pa
    from torch import Tensor

    from diffpir.blind import Family
    from diffpir.operators import Operator
    from pipeline.tasks.row import Row

KernelField = Annotated[Kernel | None, Field(examples=["k.npy or {gaussian: {std: 3}}"])]
Boundary = Literal["circular", "reflect", "unknown"]


class Blurred(Compressible):
    """A blur, perhaps with a reduction.

    Attributes:
        kernel: the blur's: a file, ``{gaussian: {std: 3}}``, ``{motion: {length: 25, angle: 30}}``,
            ``{disk: {radius: 4}}`` or ``{levin: 3}``.
        boundary: what the blur took for the scene beyond the frame: ``circular`` its other side,
            ``reflect`` its mirror image, ``unknown`` what was really there, as a camera does. None:
            unknown to restore images, circular (the paper's) for benchmarks.
    """

    kernel: KernelField = None
    boundary: Annotated[Boundary | None, Field(examples=["unknown"])] = None

    columns: ClassVar[tuple[str, ...]] = ("kernel",)

    def check(self, mode: Mode) -> None:
        super().check(mode)
        if self.kernel and self.kernel.estimate and not self.may_estimate(mode):
            raise ValueError(f"task.kernel: {ESTIMATE_RULE}")
        if mode == "restore" and self.kernel and self.kernel.is_random:
            raise ValueError(
                "task.kernel: a random kernel belongs to mode benchmark; to restore images "
                "give the kernel that blurred them"
            )

    def may_estimate(self, mode: Mode) -> bool:
        """Whether the kernel may be estimated from a blurred image."""
        return False

    def usual_kernel(self) -> np.ndarray:
        """(kh, kw), where neither the row nor the job gives a kernel.

        Raises:
            RowError: ``missing_input``: there is no usual one.
        """
        raise RowError("no kernel: neither the row nor the task gives one", "missing_input")

    def boundary_in(self, mode: Mode) -> Boundary:
        """The boundary given, or the mode's usual one."""
        return self.boundary or ("circular" if mode == "benchmark" else "unknown")

    def defaults(self) -> Defaults:
        """Without noise the data tell more than an error spectrum: the method is ``diffpir``."""
        usual = super().defaults()
        return replace(usual, spectral=()) if self.noise_level == 0 else usual

    def decomposes(self, mode: Mode, columns: Collection[str]) -> bool:
        return self.boundary_in(mode) == "circular"

    def files(self) -> dict[str, str]:
        kernel = {"kernel": self.kernel.file.file} if self.kernel and self.kernel.file else {}
        return super().files() | kernel

    def identity(self, mode: Mode) -> dict[str, Any]:
        fields = super().identity(mode)
        if fields["kernel"] and fields["kernel"]["file"]:
            del fields["kernel"]["file"]["file"]
        return fields | {"boundary": self.boundary_in(mode)}

    def assets(self, mode: Mode, kernels: Iterable[pa.ChunkedArray]) -> Iterable[AssetFile]:
        yield from kernel_file(self.kernel, mode)
        yield from levin_file(self.kernel, kernels)

    def caption(self, row: Mapping[str, Any], result: Mapping[str, Any]) -> Iterator[str]:
        yield from super().caption(row, result)
        if estimate := result.get("kernel_estimate"):
            ((family, values),) = json.loads(estimate).items()
            values = (f"{name} {value:.3g}" for name, value in values.items() if name != "size")
            yield f"{family} of {', '.join(values)} (estimated)"
        elif self.kernel and not row.get("kernel"):
            yield next(name for name in Kernel.model_fields if getattr(self.kernel, name))

    def parts(self, row: Row) -> Parts:
        from diffpir.operators.partial import trimmed

        kernel = row.files.kernel
        outcome: dict[str, Any] = {}
        if kernel is None:
            choice = kernel_choice(self.kernel, row.values)
            if choice and choice.estimate:
                choice, outcome = self._estimated(row, choice.estimate)
            kernel = (
                make_kernel(choice, row.assets, row.rng("kernel"))
                if choice
                else self.usual_kernel()
            )
        return Parts({"kernel": trimmed(kernel)}, outcome)

    def measured_size(self, row: Row, arrays: Arrays) -> tuple[int, int]:
        from diffpir.operators.partial import reach
        from pipeline.tasks.row import size_text

        mode, factor, kernel = row.spec.mode, self.enlargement, arrays["kernel"]
        height, width = row.image.shape[2:]
        if mode == "benchmark":
            beyond = [0, 0]
            if self.boundary_in(mode) == "unknown":
                beyond = [sum(reach(side, factor)) for side in kernel.shape]
            height, width = (height - beyond[0]) // factor, (width - beyond[1]) // factor
            if min(height, width) < 1:
                raise RowError(
                    f"{size_text(row.image)} pixels are too few to be blurred or reduced so far",
                    "size_mismatch",
                )
        whole = height * factor, width * factor
        if kernel.shape[0] > whole[0] or kernel.shape[1] > whole[1]:
            raise RowError(
                f"the kernel, {kernel.shape[1]} x {kernel.shape[0]}, is larger than the image, "
                f"{whole[1]} x {whole[0]}",
                "bad_kernel",
            )
        return height, width

    def operator_for(self, batch: BatchParts) -> Operator:
        from diffpir.operators import Downsample, PartialBlur

        kernel = batch.stacked("kernel")
        mask = batch.stacked("mask") if "mask" in batch.arrays[0] else None
        boundary = self.boundary_in(batch.mode)
        if boundary == "circular" and mask is None:
            return Downsample(kernel, self.enlargement)
        return PartialBlur(kernel, batch.size, self.enlargement, boundary, mask)

    def _estimated(self, row: Row, family: Family) -> tuple[Kernel, dict[str, Any]]:
        """The kernel of its family whose one parameter fits the image best, and what is told."""
        from diffpir.operators import Denoise

        if row.files.mask is not None or not self.may_estimate(row.spec.mode):
            raise RowError(f"kernel: {ESTIMATE_RULE}", "bad_kernel")
        noise = self.noise_in(row, row.image, Denoise(), {})
        level = noise if isinstance(noise, float) else noise.rms(row.image)
        kernel = estimated_kernel(row.image, family, level)
        told = kernel.model_dump_json(exclude_none=True)
        return kernel, {"kernel_estimate": told}


def estimated_kernel(y: Tensor, family: Family, noise_level: float) -> Kernel:
    """The blur that a photograph shows: of its family, with the one parameter that fits best.

    Raises:
        RowError: ``bad_kernel``: the image is too small.
    """
    from diffpir.blind import estimate_blur

    try:
        width = estimate_blur(y, family, noise_level)
    except EstimationError as e:
        raise RowError(f"kernel: estimate: {e}", "bad_kernel") from None
    parameter = "std" if family == "gaussian" else "radius"
    return Kernel.model_validate({family: {parameter: width}})
