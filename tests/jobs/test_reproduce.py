"""The paper's table, run anew."""

from __future__ import annotations

import itertools
import math

import pyarrow as pa
import pytest

from diffpir.config import PRESETS
from jobs.published import FFHQ_TEST, PUBLISHED
from jobs.reproduce import _box, reproduce
from jobs.specfile import make_job
from pipeline.errors import PipelineError
from tests.command_line import diffpir
from tests.pictures import photograph


@pytest.fixture(scope="module")
def pictures(tmp_path_factory):
    folder = tmp_path_factory.mktemp("pictures")
    for name in ("astronaut", "coffee", "chelsea"):
        photograph(64, 64, name).save(folder / f"{name}.png")
    return folder


@pytest.mark.usefixtures("ray_cluster")
def test_a_table_of_three_pictures_beside_the_published_one(pictures, tmp_path, tiny_model):
    arguments = [
        "reproduce", "--images", pictures, "-o", tmp_path / "out", "--nfe", 20,
        "--model", tiny_model, "--precision", "fp32",
    ]  # fmt: skip
    result = diffpir(*arguments)
    assert result.exit_code == 0, result.output
    shown = (tmp_path / "out" / "table.md").read_text().splitlines()
    head, _, *lines = ([cell.strip() for cell in line.strip("|").split("|")] for line in shown)
    rows = [dict(zip(head, line, strict=True)) for line in lines]
    assert [row["line"] for row in rows] == [line.name for line in PUBLISHED["ffhq", 20]]
    for row, line in zip(rows, PUBLISHED["ffhq", 20], strict=True):
        assert row["pictures"] == "3" and row["psnr published"] == f"{line.psnr:.4g}"
        psnr, difference = float(row["psnr"]), float(row["psnr difference"])
        assert math.isclose(psnr - line.psnr, difference, abs_tol=0.02)
        assert float(row["ssim"]) < 1
    # A second call has nothing to run, and other pictures are refused.
    assert diffpir(*arguments).stdout == result.stdout
    with pytest.raises(PipelineError, match="choose another output"):
        reproduce(
            str(pictures / "coffee.png"), tmp_path / "out", model=tiny_model, dataset="ffhq", nfe=20
        )


def test_what_nobody_published_is_refused(pictures, tmp_path):
    for options in (["--dataset", "imagenet", "--nfe", "20"], ["--nfe", "50"]):
        arguments = ["reproduce", "--images", str(pictures), "-o", str(tmp_path / "o"), *options]
        result = diffpir(*arguments)
        assert result.exit_code == 2 and "nothing was published of" in result.stderr
        assert not (tmp_path / "o").exists()


def test_settings_of_the_tables():
    for (dataset, nfe), lines in PUBLISHED.items():
        assert len({line.name for line in lines}) == len(lines)
        for line in lines:
            assert PRESETS[line.preset].nfe == nfe, (dataset, line.name)
            assert line.psnr or line.lpips
            task = line.task or _box(pa.table({"width": [64, 300], "height": [80, None]}))
            spec = make_job(
                {
                    "manifest": "m.csv",
                    "output": "out",
                    "mode": "benchmark",
                    "task": {**task, "noise_level": line.noise},
                    "sampler": {"preset": line.preset},
                },
                line.name,
            )
            assert spec.sampler_config(spectral=True) == PRESETS[line.preset]
    assert _box(pa.table({"width": [64, 300], "height": [80, None]}))["mask"] == {"box": 32}
    assert _box(pa.table({"width": [512]}))["mask"] == {"box": 128}
    assert len(FFHQ_TEST) == 100 and "69997" in FFHQ_TEST
    pairs = itertools.product(("sr4", "deblur-gaussian", "deblur-motion"), ("", "-noiseless"))
    assert all(f"ffhq-{task}{noise}-20" in PRESETS for task, noise in pairs)
