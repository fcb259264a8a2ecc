"""Mistakes that people make are answered in words, and the job goes on."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest
import typer

from jobs.console import finish
from jobs.restore import restore_job
from jobs.specfile import make_job
from manifests.build import build, write_manifest
from manifests.schema import row_fault
from pipeline.arrays import pack
from pipeline.flow.source import block_of
from pipeline.job_warnings import residual_warning
from pipeline.output.layout import Layout
from pipeline.output.parts import Tally, tally_of
from pipeline.output.summary import read_summary, summary_of, write_summary
from pipeline.prepare import check
from pipeline.restoring.restorer import Restorer
from pipeline.steps.table import INPUTS
from pipeline.tasks.assets import Assets
from tests.pictures import photograph
from tests.support import versions_of


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "in").mkdir()
    photograph(40, 32).save(tmp_path / "in" / "a.png")
    write_manifest(build(str(tmp_path / "in")), str(tmp_path / "m.parquet"))
    return tmp_path


def notes(folder, model, task, **settings):
    job = {"manifest": f"{folder}/m.parquet", "output": f"{folder}/out", "model": model}
    return " ".join(check(make_job(job | {"task": task} | settings, "job")).notes)


def test_a_noise_level_that_hides_all_is_asked_about(folder, tiny_model):
    words = notes(folder, tiny_model, {"kind": "denoise", "noise_level": 0.8})
    assert "is it on 0..255, or in percent? Then write 0.0031 or 0.008" in words
    usual = notes(folder, tiny_model, {"kind": "denoise", "noise_level": 0.5})
    assert "0..255" not in usual
    fault = row_fault({"image": "a", "noise_level": 25.0})
    assert (
        fault == "noise_level: expected from 0 to 1, got 25.0 (is it on 0..255? Then divide it "
        "by 255)"
    )


@pytest.mark.parametrize(
    "own, scale, told", [(False, None, True), (False, 3.0, False), (True, None, False)]
)
def test_error_bars_that_nobody_measured_are_said_to_be_so(folder, tiny_model, own, scale, told):
    asked = {"samples": 2, "uncertainty": True, "uncertainty_scale": scale}
    model = "builtin" if own else tiny_model
    words = notes(folder, model, {"kind": "denoise", "noise_level": 0.1}, **asked)
    assert ("often several times smaller than the error" in words) is told


@pytest.mark.parametrize("known, told", [(0.04, True), (0.06, False)])
def test_a_mask_that_hides_nearly_all_says_which_side_is_hidden(folder, tiny_model, known, told):
    mask = np.zeros(1000, np.uint8)
    mask[: int(1000 * known)] = 1
    np.save(folder / "k.npy", mask.reshape(25, 40))
    words = notes(folder, tiny_model, {"kind": "inpaint", "mask": f"{folder}/k.npy"})
    assert (
        "hides 96.0% of the pixels; light (not 0) is known, dark (0) is hidden" in words
    ) is told


def rows(residuals, hidden, noise_level=0.1):
    ok = [residual is not None for residual in residuals]
    return pa.table(
        {
            "status": ["ok" if good else "error" for good in ok],
            "error_kind": pa.array([None if good else "damaged" for good in ok], pa.string()),
            "seconds": [1.0] * len(ok),
            "residual": pa.array(residuals, pa.float64()),
            "hidden": pa.array(hidden, pa.float64()),
            "warning": pa.array(
                [r and residual_warning(r, noise_level) for r in residuals], pa.string()
            ),
        }
    )


def test_a_summary_says_which_share_does_not_explain_its_measurement(tmp_path, capsys):
    layout = Layout(str(tmp_path))
    tallies = [
        tally_of(rows([1.0, 2.1, None], [None, 0.96, None])),
        tally_of(rows([9.0, 2.0], [0.95, 0.1])),
    ]
    summary = summary_of(tallies, 1.0, 5)
    write_summary(layout, summary)
    first, second = summary.warnings
    assert first.startswith("2 of 4 results (50%) do not explain what was measured")
    assert second.startswith("1 of 4 masks hide more than 95%")
    assert read_summary(layout).warnings == summary.warnings
    with pytest.raises(typer.Exit) as ended:
        finish(summary, str(tmp_path))
    assert ended.value.exit_code == 3  # one row failed; a warning changes nothing
    assert "warning: 2 of 4 results (50%) do not explain" in capsys.readouterr().err
    assert summary_of([Tally(rows=3)], 1.0, 3).warnings == []


@pytest.mark.parametrize("noise_level, warned", [(0.1, True), (0.001, False)])
def test_images_with_less_noise_than_is_said_are_told(noise_level, warned):
    """Without noise a residual of 0 is right: what was measured is kept."""
    tally = tally_of(rows([0.3, 0.49, 0.51, None], [None] * 4, noise_level))
    words = " ".join(summary_of([tally, tally], 1.0, 8).warnings)
    assert ("4 of 6 images (67%) have less noise than the noise level says" in words) is warned


def test_a_clean_picture_is_warned_of_and_a_noisy_one_is_not():
    """By the embedded prior: the residual of what has the noise that is said is near 1."""
    spec = make_job(
        {
            "manifest": "m.csv",
            "output": "out",
            "task": {"kind": "denoise", "noise_level": 0.1},
            "sampler": {"nfe": 4},
        },
        "job",
    )
    restore = Restorer(spec, Assets(), "builtin", versions_of("builtin"), 2**17, 1)
    clean = np.linspace(20, 200, 64 * 64 * 3).round().reshape(64, 64, 3).astype(np.uint8)
    noise = np.random.default_rng(0).normal(0, 25.5, clean.shape)
    noisy = (clean * 0.6 + 50 + noise).round().clip(0, 255).astype(np.uint8)
    table = block_of(pa.table({"id": ["clean", "noisy"], "image": ["a", "b"]}))
    for name in INPUTS:
        table = table.append_column(name, pack([clean, noisy] if name == "image" else [None] * 2))
    warnings = restore(table)["outcome"].combine_chunks().field("warning").to_pylist()
    assert (
        warnings[0].startswith("residual 0.") and "less noise than the noise level" in warnings[0]
    )
    assert warnings[1] is None


def test_an_output_among_the_pictures_is_said(folder, capsys):
    task = {"kind": "denoise", "noise_level": 0.1}
    source = folder / "in"
    restore_job([str(source)], f"{source}/one", images=None, task=task)
    assert f"the output {source}/one lies inside the source" in capsys.readouterr().err
    (source / "one" / "images").mkdir()
    photograph(40, 32).save(source / "one" / "images" / "a.png")
    (source / "one" / "run.json").write_text("{}")
    restore_job([str(source)], f"{folder}/two", images=None, task=task)
    words = capsys.readouterr().err
    assert f"{source}/one is the output of another job" in words and "lies inside" not in words
    restore_job([f"{source}/one/images"], f"{folder}/three", images=None, task=task)
    assert capsys.readouterr().err == ""
