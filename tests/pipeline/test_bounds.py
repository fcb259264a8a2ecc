"""The tasks declip and dequantize: pixels of which only bounds are known."""

from __future__ import annotations

import io
import json

import numpy as np
import pyarrow.dataset as ds
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageOps
from pydantic import ValidationError

from manifests.build import build, write_manifest
from pipeline.errors import RowError
from pipeline.pictures.decode import decode_image
from pipeline.restoring.problem import build_problem, operator_of
from pipeline.restoring.tone import KNEE, softened
from pipeline.run import run_job
from pipeline.spec.job import JobSpec
from pipeline.tasks.assets import Assets
from pipeline.tasks.levels import shades_of
from pipeline.tasks.row import Inputs, to_tensor
from tests.pictures import photograph


def job(task: dict, **given) -> JobSpec:
    return JobSpec.model_validate({"manifest": "m.parquet", "output": "out", "task": task} | given)


def posed(pixels: np.ndarray, task: dict, mode: str = "restore"):
    return build_problem({"id": "a", "image": "x"}, Inputs(pixels), job(task, mode=mode), Assets())


PHOTOGRAPH = np.asarray(photograph(48, 40))
CUT = [
    {"kind": "declip", "clipped": 0.2},
    {"kind": "declip", "low": 0.1, "high": [0.7, 0.8, 0.9]},
    {"kind": "declip", "clipped": 0.1, "ceiling": 1.7},
    {"kind": "dequantize", "levels": 2},
    {"kind": "dequantize", "levels": 7},
    {"kind": "dequantize", "levels": 16, "cells": "equal"},
]


@pytest.mark.parametrize("task", CUT)
@pytest.mark.parametrize("grey", [False, True])
def test_the_true_picture_is_allowed_and_restoring_it_leaves_it(task, grey):
    pixels = PHOTOGRAPH.mean(axis=2).astype(np.uint8) if grey else PHOTOGRAPH
    problem = posed(pixels, task, "benchmark")
    operator = operator_of([problem])
    true = to_tensor(pixels) / problem.peak
    assert operator.kept(true).item() == 1
    assert torch.allclose(operator.impose(true, problem.y), true, atol=1e-6)
    # What was measured is allowed as well, and something was lost.
    assert operator.kept(problem.y).item() == 1
    assert (problem.y - true).abs().max() > 0.05 / problem.peak


@pytest.mark.parametrize("task", CUT)
def test_with_noise_nearly_all_of_the_true_picture_is_allowed(task):
    problem = posed(PHOTOGRAPH, task | {"noise_level": 0.02}, "benchmark")
    share = operator_of([problem]).kept(to_tensor(PHOTOGRAPH) / problem.peak).item()
    assert share > 0.985


def bits_cut(bits: int) -> np.ndarray:
    return np.asarray(ImageOps.posterize(Image.fromarray(PHOTOGRAPH), bits))


def few(levels: int) -> np.ndarray:
    return np.round(np.round(PHOTOGRAPH / 255 * (levels - 1)) * 255 / (levels - 1)).astype(np.uint8)


@settings(deadline=None)
@given(st.integers(2, 40), st.booleans())
def test_levels_are_told_from_the_picture(levels, deep):
    pixels = few(levels)
    pixels = pixels.astype(np.uint16) * 257 if deep else pixels
    problem = posed(pixels, {"kind": "dequantize"})
    # A file's rounding may put a shade that lies half-way on the other side.
    assert operator_of([problem]).kept(to_tensor(PHOTOGRAPH), slack=0.1).item() > 0.999
    widths = problem.arrays["high"] - problem.arrays["low"]
    assert 0.4 / (levels - 1) < np.median(widths) < 1.1 / (levels - 1)


@pytest.mark.parametrize("bits", [1, 2, 3, 4, 5])
def test_bits_that_were_cut_off_are_told_from_the_picture(bits):
    problem = posed(bits_cut(bits), {"kind": "dequantize"})
    assert operator_of([problem]).kept(to_tensor(PHOTOGRAPH), slack=0.01).item() == 1
    middle = (problem.arrays["high"] + problem.arrays["low"]) / 2
    assert np.abs(middle - (problem.y[0].numpy() + 2.0**-bits / 2)).max() < 0.01


def test_each_channel_may_have_levels_of_its_own():
    pixels = np.stack([few(8)[..., 0], few(8)[..., 1], few(4)[..., 2]], axis=2)  # of 8 bits in all
    widths = [
        np.median(channel)
        for channel in np.subtract(
            *(posed(pixels, {"kind": "dequantize"}).arrays[n] for n in ("high", "low"))
        )
    ]
    assert widths == pytest.approx([1 / 7, 1 / 7, 1 / 3], rel=1e-3)


def test_uneven_levels_end_half_way():
    values = np.array([10, 30, 90, 200], np.float32) / 255
    (found,) = shades_of([values], None, None)
    assert np.allclose(found * 255, [[0, 20, 60, 145], [20, 60, 145, 255]])


@pytest.mark.parametrize(
    "pixels, task, words",
    [
        (PHOTOGRAPH, {}, "levels, expected 64 at most"),
        (few(7), {"levels": 5}, "none of 5 even levels"),
    ],
)
def test_pictures_without_such_levels_are_row_errors(pixels, task, words):
    with pytest.raises(RowError, match=words):
        posed(pixels, {"kind": "dequantize", **task})


@pytest.mark.parametrize(
    "task, given, words",
    [
        ({"kind": "declip", "low": 0.5, "high": [0.9, 0.5, 0.9]}, {}, "low: must be below high"),
        ({"kind": "declip", "clipped": 0.1}, {}, "belongs to mode benchmark"),
        ({"kind": "declip", "clipped": 0.1, "high": 0.5}, {"mode": "benchmark"}, "one of them"),
        ({"kind": "declip"}, {"picture": {"range": "scene"}}, "takes bits: 16"),
        (
            {"kind": "declip", "high": 0.5}, {"picture": {"range": "scene", "bits": 16}},
            "nothing that declip restores here",
        ),
        ({"kind": "dequantize"}, {"mode": "benchmark"}, "a benchmark quantises to so many"),
        ({"kind": "dequantize", "noise_level": "auto"}, {}, "cannot be told"),
        ({"kind": "dequantize", "levels": 1}, {}, "greater than or equal to 2"),
        ({"kind": "declip"}, {"sampler": {"method": "diffpir-spectral"}}, "no data step"),
    ],
)  # fmt: skip
def test_what_does_not_go_together_is_refused(task, given, words):
    with pytest.raises(ValidationError, match=words):
        job(task, **given)


def test_noise_is_told_from_what_is_not_clipped():
    rng = np.random.default_rng(0)
    clean = np.asarray(photograph(200, 160, "coffee")) / 255
    noisy = np.clip(clean * 1.3 + rng.normal(0, 0.03, clean.shape), 0, 1)
    pixels = np.round(noisy * 255).astype(np.uint8)
    problem = posed(pixels, {"kind": "declip", "noise_level": "auto"})
    assert problem.noise_level == pytest.approx(0.03, rel=0.2)


@given(st.floats(1.01, 16), st.floats(0, 1), st.floats(0, 1))
def test_tones_keep_their_order_and_end_at_white(peak, one, other):
    x = torch.tensor([one, other, 0.0, 1.0], dtype=torch.float64) * peak
    y = softened(x, peak)
    assert y[2] == 0 and y[3] == pytest.approx(1)
    assert (x[0] - x[1]) * (y[0] - y[1]) >= 0
    assert torch.equal(y[x <= KNEE], x[x <= KNEE])


@pytest.fixture(scope="module")
def overexposed(tmp_path_factory):
    """A manifest of one photograph that was exposed for too long."""
    folder = tmp_path_factory.mktemp("declip")
    bright = np.asarray(photograph(96, 96, "coffee")) * 1.4
    Image.fromarray(np.clip(bright, 0, 255).astype(np.uint8)).save(folder / "a.png")
    write_manifest(build(str(folder / "a.png")), str(folder / "m.parquet"))
    return folder


def restored(folder, name: str, task: dict, **given) -> dict:
    spec = job(
        task, manifest=str(folder / "m.parquet"), output=str(folder / name), actors=1,
        sampler={"nfe": 6}, **given,
    )  # fmt: skip
    assert run_job(spec).ok == 1
    (row,) = ds.dataset(folder / name / "results", format="parquet").to_table().to_pylist()
    return row


def test_what_is_brighter_than_white_is_written_both_ways(ray_cluster, overexposed):
    given = np.asarray(Image.open(overexposed / "a.png")) / 255
    scene = restored(
        overexposed, "scene", {"kind": "declip"}, picture={"range": "scene", "bits": 16}
    )
    values = decode_image(scene["restored"]["bytes"]) / 65535 * scene["ceiling"]
    assert scene["ceiling"] == 1.5 and scene["residual"] > 0.999
    clipped = given == 1
    assert np.abs(values - given)[~clipped].max() < 1e-3  # as it was measured
    assert values[clipped].min() > 0.998 and values[clipped].mean() > 1.01
    display = restored(overexposed, "display", {"kind": "declip"})
    shown = decode_image(display["restored"]["bytes"]) / 255
    assert display["ceiling"] is None
    dark = given < KNEE
    assert np.abs(shown - given)[dark].max() < 0.003
    assert shown.max() <= 1 and shown[clipped].std() > 0.005  # no more flat
    record = json.loads((overexposed / "display" / "run.json").read_text())
    assert record["spec"]["task"]["kind"] == "declip"


def test_few_levels_become_many(ray_cluster, tmp_path):
    Image.fromarray(few(8)).save(tmp_path / "a.png")
    PHOTO = Image.fromarray(PHOTOGRAPH)
    PHOTO.save(tmp_path / "true.png")
    manifest = build(str(tmp_path / "a.png")).append_column(
        "reference", [[str(tmp_path / "true.png")]]
    )
    write_manifest(manifest, str(tmp_path / "m.parquet"))
    row = restored(tmp_path, "out", {"kind": "dequantize"})
    pixels = np.asarray(Image.open(io.BytesIO(row["restored"]["bytes"])))
    assert len(np.unique(pixels)) > 60
    assert row["psnr"] > row["baseline_psnr"] + 0.4 and row["residual"] > 0.99
