"""What was measured of an output's rows, and their references, as pictures for people to see."""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass

import pyarrow as pa
from PIL import Image

from jobs.thumbnails import rgb, rgb_of_tensor
from manifests.expand import root_of
from manifests.schema import FILES
from pipeline.arrays import unpack
from pipeline.errors import RowError
from pipeline.pictures.values import Values
from pipeline.restoring.problem import build_problem, files_of
from pipeline.spec.job import JobSpec
from pipeline.steps.load import Load
from pipeline.steps.table import errors_of, known_columns
from pipeline.tasks.assets import Assets
from pipeline.tasks.row import Inputs
from pipeline.users_code import check_allowed


@dataclass(frozen=True)
class Measurement:
    """A row's pictures before it was restored, in RGB.

    Attributes:
        measured: as it was given, or as the benchmark made it; None where it is no picture.
        reference: the true image; None where it is not known.
        error: why there is neither, in words; else empty.
    """

    measured: Image.Image | None = None
    reference: Image.Image | None = None
    error: str = ""


class Measurements:
    """Reads the files of a job's manifest again, under the rules of the job.

    Relative paths start where they did for the job. A benchmark's measurements are made again, by
    the task's operator.

    Args:
        spec: of the job.
        channels: that its prior takes.
        allow_code: modules and packages that a benchmark's task may import.

    Raises:
        PipelineError: the task would import code that is not allowed.
    """

    def __init__(self, spec: JobSpec, channels: int, allow_code: Collection[str] = ()):
        self.spec, self.channels, self.base = spec, channels, root_of(spec.manifest)
        self.benchmark = spec.mode == "benchmark"
        if self.benchmark:
            check_allowed(spec.task_code(), allow_code)
        # The picture that a user gave is what was measured, whatever mask and kernel came with it.
        self.files = files_of(spec) if self.benchmark else ["image", "reference"]

    def reader(self, planned: pa.Table) -> Callable[[int], Measurement]:
        """What reads the pictures of one of these rows of the plan, by its place among them.

        Raises:
            PipelineError: a kernel or mask that the job names is gone.
        """
        names = tuple(name for name in self.files if name in planned.column_names)
        load = Load.of(
            self.spec, self.base, names, beside=not self.benchmark, channels=self.channels
        )
        assets = Assets()
        if self.benchmark:
            kernels = [planned["kernel"]] if "kernel" in planned.column_names else []
            assets = Assets.of(self.spec.task.all_assets(self.spec.mode, kernels))

        def read(place: int) -> Measurement:
            row = pa.chunked_array(planned.slice(place, 1).to_struct_array())
            try:
                return self._of_row(row, load, assets)
            except RowError as e:
                return Measurement(error=str(e))

        return read

    def _of_row(self, row: pa.ChunkedArray, load: Load, assets: Assets) -> Measurement:
        loaded = load(pa.table({"row": row, "error": [""], "error_kind": [""]}))
        if (error := errors_of(loaded)[0])[0]:
            raise RowError(*error)
        arrays = {name: unpack(loaded[name])[0] for name in FILES}
        image, reference = arrays.pop("image"), arrays["reference"]
        assert image is not None  # a row without one has an error
        if not self.benchmark:
            alpha = unpack(loaded["alpha"])[0]
            read = Values.of(self.spec).as_eight_bits
            true = None if reference is None else rgb(read(reference))
            return Measurement(rgb(read(image), alpha), true)
        inputs = Inputs(image, **arrays)
        problem = build_problem(known_columns(row)[0], inputs, self.spec, assets, self.channels)
        assert problem.reference is not None  # a benchmark's is the image that it degraded
        y = problem.y if problem.colours is None else problem.colours
        return Measurement(
            rgb_of_tensor(problem.peak * y, self.channels),
            rgb_of_tensor(problem.reference, self.channels),
        )
