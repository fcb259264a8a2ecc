"""Tasks with ``then: jpeg``: what was measured was compressed since."""

from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import ExifTags, Image
from pydantic import ValidationError

from diffpir.operators import Compressed
from pipeline.errors import RowError
from pipeline.pictures.jpeg import read_jpeg
from pipeline.pictures.jpeg_array import to_array
from pipeline.restoring.problem import baseline_of, build_problem, operator_of
from pipeline.spec.job import JobSpec
from pipeline.steps.load import Load
from pipeline.tasks.assets import Assets
from pipeline.tasks.row import Inputs
from tests.pictures import photograph

KERNEL = {"kernel": {"gaussian": {"size": 7, "std": 1.0}}}
TASKS = [
    {"kind": "deblur", "noise_level": 0.02, **KERNEL},
    {"kind": "deblur", "noise_level": 0.02, "boundary": "unknown", **KERNEL},
    {"kind": "sr", "noise_level": 0.01, "factor": 2},
    {"kind": "denoise", "noise_level": 0.05},
]


def job(task: dict, mode: str = "benchmark") -> JobSpec:
    spec = {"manifest": "m.parquet", "output": "out", "mode": mode, "task": task}
    return JobSpec.model_validate(spec)


@pytest.mark.parametrize("task", TASKS)
@pytest.mark.parametrize("grey", [False, True])
def test_the_true_picture_honours_its_file(task, grey):
    picture = photograph(64, 64)
    pixels = np.asarray(picture.convert("L") if grey else picture)
    spec = job({**task, "then": "jpeg", "quality": 40, "sampling": "4:4:4"})
    problem = build_problem({"id": "a", "image": "x"}, Inputs(pixels), spec, Assets())
    operator = operator_of([problem])
    assert isinstance(operator, Compressed)
    assert problem.reference is not None
    if task.get("boundary") != "unknown":  # else the scene reaches beyond what is shown
        assert operator.kept(problem.reference).item() > 0.98
    # What was decoded lies in the intervals, but for the rounding of its pixels.
    assert operator.stored.kept(problem.y, slack=0.1).item() > 0.98
    assert baseline_of(problem).shape == problem.reference.shape


def test_files_that_are_turned_are_used_as_they_are_shown():
    """A kernel is of the picture as it is shown, however its file has it."""
    task = {"kind": "deblur", "noise_level": 0.02, "then": "jpeg"} | {"kernel": {"file": "k.npy"}}
    kernel = np.zeros((1, 5))
    kernel[0] = 0.2
    for orientation in (1, 6, 3):
        exif = Image.Exif()
        exif[ExifTags.Base.Orientation] = orientation
        file = io.BytesIO()
        photograph(48, 32).save(file, "JPEG", quality=60, exif=exif)
        jpeg = read_jpeg(file.getvalue(), max_pixels=10**6)
        assert jpeg.orientation == orientation
        from PIL import ImageOps

        shown = np.asarray(ImageOps.exif_transpose(Image.open(io.BytesIO(file.getvalue()))))
        inputs = Inputs(shown, kernel=kernel, stored=to_array(jpeg))
        problem = build_problem({"id": "a", "image": "x"}, inputs, job(task, "restore"), Assets())
        operator = operator_of([problem])
        assert operator.stored.kept(problem.y, slack=0.1).item() > 0.95, orientation
        z = operator.initial(problem.y)
        assert operator.prox(2 * z - 1, problem.y, 0.1).shape == z.shape


@pytest.mark.parametrize(
    "task, mode, words",
    [
        ({"quality": 10}, "benchmark", "go with then: jpeg"),
        ({"then": "jpeg"}, "benchmark", "a benchmark compresses with one"),
        ({"then": "jpeg", "quality": 10}, "restore", "files have their own"),
        ({"then": "jpeg", "noise_level": "auto"}, "restore", "with then: jpeg give a number"),
        ({"then": "jpeg", "mask": "m.png"}, "restore", "stores the whole picture"),
        ({"then": "webp"}, "restore", "jpeg"),
    ],
)
def test_what_does_not_go_together_is_refused(task, mode, words):
    with pytest.raises(ValidationError, match=words):
        job({**TASKS[0], **task}, mode)


def test_a_row_of_its_own_noise_or_mask_is_refused_in_words():
    spec = job({**TASKS[0], "then": "jpeg"}, "restore")
    file = io.BytesIO()
    photograph(48, 32).save(file, "JPEG", quality=60)
    inputs = {"image": np.asarray(photograph(48, 32))}
    inputs["stored"] = to_array(read_jpeg(file.getvalue(), max_pixels=10**6))
    row = {"id": "a", "image": "x"}
    with pytest.raises(RowError, match="cannot be told from a JPEG file"):
        build_problem(row | {"noise_level": "auto"}, Inputs(**inputs), spec, Assets())
    with pytest.raises(RowError, match="does not go with then"):
        build_problem(row, Inputs(**inputs, mask=np.ones((32, 48), bool)), spec, Assets())
    assert Load.of(spec, "", ("image",), beside=False, channels=3).stored
