"""The commands ``models`` and ``train``, and jobs with the priors that they make."""

from __future__ import annotations

import json
import re
from dataclasses import replace

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from PIL import Image

from diffpir import load_model
from diffpir.checkpoints.checkpoint import read_spectrum, save_model
from tests.command_line import diffpir
from tests.pictures import photograph
from tests.support import TINY, make_net

pytestmark = pytest.mark.usefixtures("ray_cluster")


def test_models_inspect_tells_the_architecture(tiny_model, tmp_path):
    result = diffpir("models", "inspect", tiny_model)
    assert result.exit_code == 0
    facts = {name: rest for name, *rest in (re.split("  +", x) for x in result.stdout.splitlines())}
    assert facts["level_channels"] == ["(32, 32)", "inferred"] and len(facts["sha256"][0]) == 64
    assert facts["parameters"] == ["318,691 (float32)", "found"]
    assert facts["num_head_channels"] == ["32", "found"]
    asked = f"{{path: {tiny_model}, num_heads: 2}}"
    assert re.search("num_heads +2 +given", diffpir("models", "inspect", asked).stdout)
    wrong = diffpir("models", "inspect", f"{{path: {tiny_model}, num_heds: 2}}")
    assert wrong.exit_code == 2 and "unknown key (did you mean 'num_heads'?)" in wrong.stderr
    (tmp_path / "x.pt").write_text("no model")
    result = diffpir("models", "inspect", tmp_path / "x.pt")
    assert result.exit_code == 2 and "refused: it is not a plain file of tensors" in result.stderr
    assert "5,585,315 (float16, float32)" in diffpir("models", "inspect", "builtin").stdout


def test_models_convert_writes_another_precision(tiny_model, tmp_path):
    made = tmp_path / "half.safetensors"
    assert "(bfloat16, float32)" in diffpir("models", "convert", tiny_model, "-o", made).stdout
    a, b = (load_model(path).state_dict() for path in (tiny_model, made))
    last = {key for key in a if key.startswith("out.")}  # these stay exact
    assert all(torch.equal(a[key], b[key]) for key in last)
    assert all(torch.equal(a[key].bfloat16().float(), b[key]) for key in a.keys() - last)
    result = diffpir("models", "convert", tiny_model, "-o", tmp_path / "x.pt")
    assert result.exit_code == 2 and "writes .safetensors" in result.stderr
    nowhere = tmp_path / "no folder" / "x.safetensors"
    result = diffpir("models", "convert", tiny_model, "-o", nowhere)
    assert result.exit_code == 2 and f"{nowhere}: cannot be written (" in result.stderr


def test_models_calibrate_measures_the_error_spectrum(tiny_model, tmp_path):
    for i, name in enumerate(("astronaut", "chelsea", "coffee")):
        photograph(80, 70, name).save(tmp_path / f"{i}.png")
    photograph(80, 50).save(tmp_path / "small.png")
    manifest, made = tmp_path / "m.csv", tmp_path / "made.safetensors"
    diffpir("manifest", "build", tmp_path, "-o", manifest)
    arguments = ("models", "calibrate", tiny_model, manifest, "--evaluations", 20, "-o")
    result = diffpir(*arguments, made)
    assert result.exit_code == 0, result.output
    assert "left out: small: 80 x 50 pixels" in result.stderr
    assert "error spectrum           measured" in result.stdout
    a, b = (load_model(path).state_dict() for path in (tiny_model, made))
    assert all(torch.equal(a[key], b[key]) for key in a)
    assert read_spectrum(tiny_model) is None and len(read_spectrum(made).sigmas) == 10
    # Another precision of it keeps it.
    half = tmp_path / "half.safetensors"
    assert diffpir("models", "convert", made, "-o", half).exit_code == 0
    assert read_spectrum(half) == read_spectrum(made)
    assert "writes a .safetensors file" in diffpir(*arguments, tmp_path / "x.pt").stderr
    manifest.write_text(f"id,image\na,{tmp_path}/0.png\n")
    result = diffpir(*arguments, made)
    assert result.exit_code == 2 and "one photograph; a few dozen are wanted" in result.stderr


def test_the_spectral_method_is_refused_without_a_spectrum(tiny_model, photos, tmp_path):
    arguments = ("--task", "denoise", "--noise", 0.1, "--model", tiny_model, "--nfe", 2)
    result = diffpir(
        "restore", photos, "-o", tmp_path / "out", *arguments, "--method", "diffpir-spectral"
    )
    assert result.exit_code == 2
    assert "to measure it: diffpir models calibrate" in result.stderr


def test_train_makes_a_model_that_a_job_can_use(photos, tmp_path):
    diffpir("manifest", "build", photos, "-o", tmp_path / "m.csv")
    with (tmp_path / "m.csv").open("a") as f:
        f.write(f'"gone","{photos}/gone.png",1,1,1\n')
    result = diffpir(
        "train", tmp_path / "m.csv", "-o", tmp_path / "prior",
        "--steps", 2, "--batch", 2, "--crop", 16, "--validation", tmp_path / "m.csv",
    )  # fmt: skip
    assert result.exit_code == 0, result.output
    assert "left out: gone: no such file" in result.stderr
    assert json.loads((tmp_path / "prior" / "validation.jsonl").read_text())["psnr_sigma_1"] > 0
    path = tmp_path / "prior" / "model.safetensors"
    assert f"model: {path}" in result.stdout
    result = diffpir(
        "restore", photos, "-o", tmp_path / "out", "--task", "denoise", "--noise", 0.1,
        "--model", path, "--nfe", 2, "--actors", 1,
    )  # fmt: skip
    assert result.exit_code == 0, result.output


def test_train_goes_on_from_a_models_weights(photos, tmp_path, tiny_model):
    diffpir("manifest", "build", photos, "-o", tmp_path / "m.csv")
    train = [
        "train", tmp_path / "m.csv", "-o", tmp_path / "prior", "--from", tiny_model,
        "--steps", 1, "--batch", 2, "--crop", 16, "--lr", 0,
    ]  # fmt: skip
    result = diffpir(*train, "--width", 32)
    assert result.exit_code == 2 and "--width is what --from tells" in result.stderr
    assert diffpir(*train).exit_code == 0
    before, after = load_model(tiny_model), load_model(tmp_path / "prior" / "model.safetensors")
    assert before.config == after.config
    for a, b in zip(before.parameters(), after.parameters(), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-3, atol=1e-6)  # stored in half precision


def test_a_grey_prior_is_trained_measured_and_used_on_12_bits(tmp_path):
    folder = tmp_path / "frames"
    folder.mkdir()
    for name in ("coins", "camera", "moon"):
        frame = np.asarray(photograph(96, 80, name).convert("L")).astype(np.uint16) * 16
        Image.fromarray(frame).save(folder / f"{name}.tif")
    frames = ("--range", 0, 4095)
    diffpir("manifest", "build", folder, "-o", tmp_path / "m.csv")
    result = diffpir(
        "train", tmp_path / "m.csv", "-o", tmp_path / "prior", "--channels", 1, *frames,
        "--steps", 2, "--batch", 2, "--crop", 16, "--validation", tmp_path / "m.csv",
    )  # fmt: skip
    assert result.exit_code == 0, result.output
    measured = tmp_path / "grey.safetensors"
    result = diffpir(
        "models", "calibrate", tmp_path / "prior/model.safetensors", tmp_path / "m.csv",
        "-o", measured, "--evaluations", 20, *frames,
    )  # fmt: skip
    assert result.exit_code == 0, result.output
    assert load_model(measured).config.in_channels == 1
    assert read_spectrum(measured).channels == 1
    result = diffpir(
        "restore", folder, "-o", tmp_path / "out", "--task", "denoise", "--noise", 0.1,
        "--model", measured, "--nfe", 2, "--actors", 1, "--format", "tiff", "--bits", 16, *frames,
    )  # fmt: skip
    assert result.exit_code == 0, result.output
    with Image.open(tmp_path / "out/images/coins.tif") as picture:
        restored = np.asarray(picture)
    assert restored.dtype == np.uint16 and 1000 < restored.max() <= 4095
    rows = pq.read_table(tmp_path / "out/results").to_pylist()
    assert {row["sampler"]["method"] for row in rows} == {"diffpir-spectral"}
    five = tmp_path / "five.safetensors"
    save_model(make_net(replace(TINY, in_channels=5, out_channels=5)), five)
    result = diffpir("models", "calibrate", five, tmp_path / "m.csv", "-o", measured)
    assert result.exit_code == 2 and "a prior of 5 channels has no error spectrum" in result.stderr
