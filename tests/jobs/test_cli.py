"""The command line as a person uses it, on real files and a real Ray."""

from __future__ import annotations

import csv
import io
import json
import os
import re
import shutil
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
import typer
from PIL import Image
from typer.testing import CliRunner

from diffpir import load_model
from diffpir.checkpoints.checkpoint import read_spectrum, save_model
from jobs.aggregate import aggregate
from jobs.cli import app
from jobs.console import user_errors
from jobs.photographs import photographs_of
from jobs.restore import restore_job
from jobs.results import METRICS
from manifests.errors import ManifestError
from manifests.read import read_manifest
from pipeline.errors import PipelineError
from tests.pictures import decoded, photograph
from tests.s3 import free_port
from tests.support import TINY, make_net

DENOISE = {"kind": "denoise", "noise_level": 0.1}
pytestmark = pytest.mark.usefixtures("ray_cluster")


def diffpir(*arguments):
    result = CliRunner().invoke(app, [str(a) for a in arguments])
    if result.exception and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    folder = tmp_path_factory.mktemp("photos")
    (folder / "sub").mkdir()
    photograph(40, 32, "coffee").save(folder / "coffee.png")
    photograph(40, 32, "chelsea").save(folder / "sub" / "chelsea.png")
    return folder


@pytest.fixture(scope="module")
def finished(photos, tmp_path_factory, tiny_model):
    """A finished benchmark of two rows that succeed and one that fails; its output."""
    folder = tmp_path_factory.mktemp("job")
    diffpir("manifest", "build", photos, "-o", folder / "m.parquet")
    table = pq.read_table(folder / "m.parquet").to_pylist()
    rows = [{**row, "site": site} for row, site in zip(table, "ab", strict=True)]
    rows.append({"id": "gone", "image": str(photos / "gone.png"), "site": "b"})
    (folder / "m.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (folder / "job.yaml").write_text(
        f"{{manifest: {folder}/m.jsonl, output: {folder}/out, mode: benchmark, "
        f"task: {{kind: denoise, noise_level: 0.1}}, model: {tiny_model}, sampler: {{nfe: 2}}, "
        "actors: 1}"  # each takes seconds to start
    )
    result = diffpir("run", folder / "job.yaml")
    assert result.exit_code == 3
    assert "2 restored, 1 failed" in result.stdout
    assert "failed: 1 not_found" in result.stderr
    return folder


def test_plan_says_what_is_left_and_writes_nothing(finished, photos, tmp_path):
    again = diffpir("plan", finished / "job.yaml")
    assert again.exit_code == 0, again.output
    assert "rows: 3 in " in again.stdout and "time: about" not in again.stdout
    assert "there already: 3 rows\nto restore: 0 rows in 0 shards\n" in again.stdout
    text = (finished / "job.yaml").read_text().replace(f"{finished}/out", f"{tmp_path}/out")
    (tmp_path / "job.yaml").write_text(text)
    new = diffpir("plan", tmp_path / "job.yaml")
    assert "there already: nothing" in new.stdout and not (tmp_path / "out").exists()
    assert "network evaluations: 2 for each row, 6 in all\nactors: 1\n" in new.stdout
    (tmp_path / "job.yaml").write_text(text.replace("/m.jsonl", "/gone.jsonl"))
    wrong = diffpir("plan", tmp_path / "job.yaml")
    assert wrong.exit_code == 2 and "gone.jsonl" in wrong.stderr


def test_restore_needs_no_job_file(photos, tiny_model, tmp_path):
    np.save(tmp_path / "k.npy", np.ones((3, 3)))
    arguments = (
        "restore", photos, "-o", tmp_path / "out", "--task", "deblur", "--noise", 0.02,
        "--kernel", tmp_path / "k.npy", "--model", tiny_model, "--nfe", 2,
    )  # fmt: skip
    result = diffpir(*arguments)
    assert result.exit_code == 0, result.output
    for name in ("coffee", "sub/chelsea"):
        picture = decoded((tmp_path / "out" / "images" / f"{name}.png").read_bytes())
        assert picture.shape == (32, 40, 3)
    assert diffpir(*arguments).exit_code == 0  # finished already
    photograph(40, 32).save(photos / "new.png")
    result = diffpir(*arguments)
    (photos / "new.png").unlink()
    assert result.exit_code == 2 and "other images" in result.stderr


def test_restore_takes_a_kernel_as_text_and_tells_the_noise(photos, tiny_model, tmp_path):
    result = diffpir(
        "restore", photos, "-o", tmp_path / "out", "--task", "deblur", "--noise", "auto",
        "--kernel", "{motion: {length: 5, angle: 30}}", "--model", tiny_model, "--nfe", 2,
        "--actors", 1,
    )  # fmt: skip
    assert result.exit_code == 0, result.output


def test_check_tells_what_is_wrong_with_a_kernel_that_a_row_writes_out(photos, tmp_path):
    (tmp_path / "m.csv").write_text(
        f"id,image,kernel\na,{photos}/coffee.png,{{disk: {{radius: 2}}}}\n"
        f"b,{photos}/coffee.png,{{disk: {{raduis: 2}}}}\n"
    )
    result = diffpir("manifest", "check", tmp_path / "m.csv")
    assert result.exit_code == 3 and "1 faults" in result.stderr
    assert "row 2 (id 'b'): kernel: disk.radius: Field required" in result.stdout


@pytest.mark.parametrize(
    "options, words",
    [
        (["--task", "denoise", "--noise", "much"], "--noise: must be a finite number"),
        (
            ["--task", "deblur", "--noise", 0, "--kernel", "{disk: {radius: 0}}"],
            "--kernel: disk.radius: ",
        ),
        (["--task", "sr", "--noise", 0], "error: --factor is required for sr"),
        (["--task", "deblur"], "--noise is required to deblur"),
        (["--task", "deblur", "--noise", 0.1], "--kernel is required to deblur"),
        (["--task", "inpaint"], "--mask is required to inpaint"),
        (["--task", "inpaint", "--mask", "/no.png"], "--mask: no such file: /no.png"),
        (["--task", "inpaint", "--mask", "{box: 0}"], "--mask: box: "),
        (["--task", "inpaint", "--mask", "{box: 8}"], "belongs to mode benchmark"),
        (["--task", "inpaint", "--mask", "{box"], "expected a mask such as {box: 128}"),
        (["--task", "inpaint", "--mask", "{box", "--grow", "2"], "--mask: expected a mask such as"),
        (["--task", "inpaint", "--mask", "values:a"], "expected numbers, as in values:0,255"),
        (["--task", "inpaint", "--mask", "colour:red"], "--mask: colour: "),
        (["--task", "inpaint", "--grow", "2"], "--grow: it goes with --mask"),
        (
            ["--task", "sr", "--factor", 2, "--noise", 0, "--kernel", "/no.npy"],
            "--kernel: no such",
        ),
        (["--task", "denoise", "--noise", 3], "error: --noise: "),
        (["--task", "denoise", "--noise", "gaussian=0.01,posson=0.1"], "did you mean 'poisson'?"),
        (["--task", "denoise", "--noise", "poisson=much"], "--noise: poisson: must be a number"),
        (["--task", "denoise", "--noise", "map=/no.npy"], "--noise: map: no such file: /no.npy"),
        (["--task", "jpeg", "--noise", "poisson=0.1"], "--noise: this task takes one noise_level"),
        (["--task", "denoise", "--noise", 0.1, "--factor", 2], "--factor does not go with denoise"),
        (["--task", "denoise", "--noise", 0.1, "--preset", "x"], "no preset 'x'"),
        (["--task", "denoise", "--noise", 0.1, "--format", "gif"], "--format: "),
        (["--task", "denoise", "--noise", 0.1, "--nfe", -3], "error: --nfe must be a whole number"),
        (["--task", "denoise", "--noise", 300, "--factor", 2], "error: 2 faults of options:\n"),
        (["--task", "denoise", "--noise", "5%"], "or auto; in place of 5% write 0.05, got '5%'"),
        (["--task", "denoise", "--noise", 25], "if it is on 0..255, write 0.098; if in percent, "),
        (
            ["--task", "denoise", "--noise", 0.1, "--bits", 16, "--format", "jpeg"],
            "--bits: jpeg has 8 bits",
        ),
        (
            ["--task", "denoise", "--noise", 0.1, "--model", "/no.pt"],
            "--model: no such file: /no.pt",
        ),
    ],
)
def test_a_wrong_option_is_one_message_and_exit_code_2(photos, tmp_path, options, words):
    result = diffpir("restore", photos, "-o", tmp_path / "out", *options)
    assert result.exit_code == 2
    assert result.stderr.startswith("error: ") and words in result.stderr
    assert "Traceback" not in result.output


def test_restore_writes_pictures_of_the_format_asked_for(photos, tiny_model, tmp_path):
    result = diffpir(
        "restore", photos, "-o", tmp_path / "out", "--task", "denoise", "--noise", 0.1,
        "--model", tiny_model, "--nfe", 2, "--format", "jpeg", "--quality", 90, "--actors", 1,
    )  # fmt: skip
    assert result.exit_code == 0, result.output
    assert decoded((tmp_path / "out" / "images" / "coffee.jpg").read_bytes()).shape == (32, 40, 3)


def test_of_a_source_that_holds_the_output_only_pictures_that_were_made_are_left_out(
    photos, tiny_model, tmp_path, capsys
):
    """The output lies in the source, and pictures of the user's own among those that it makes."""
    for name in ("a.png", "out/b.png", "out/images/c.png"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(photos / "coffee.png", tmp_path / name)
    job = [
        "restore", tmp_path, "-o", tmp_path / "out", "--task", "denoise", "--noise", 0.1,
        "--model", tiny_model, "--nfe", 2, "--actors", 1,
    ]  # fmt: skip
    first = diffpir(*job)
    assert first.exit_code == 0 and "3 restored, 0 failed" in first.stdout, first.output
    again = diffpir(*job)
    assert again.exit_code == 0 and "3 restored, 0 failed" in again.stdout, again.output
    left_out = f"pictures left out, which came since {tmp_path}/out was begun"
    assert f"3 {left_out}" in again.stderr
    shutil.copy(photos / "coffee.png", tmp_path / "out" / "sheet.png")
    (tmp_path / "done").symlink_to(tmp_path / "out")
    (tmp_path / "out" / "run.json").unlink()  # the manifest that is kept says enough
    again = restore_job([str(tmp_path)], str(tmp_path / "out"), images=None, task=DENOISE)
    assert len(read_manifest(again.manifest)) == 3
    assert f"4 {left_out}" in capsys.readouterr().err


def test_an_output_that_a_link_in_the_source_leads_to(photos, tmp_path, capsys):
    source, output = tmp_path / "in", tmp_path / "out"
    source.mkdir()
    output.mkdir()
    (source / "done").symlink_to(output)
    for name in ("in/a.png", "out/b.png", "out/images/a.png", "c.png"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        shutil.copy(photos / "coffee.png", tmp_path / name)
        if name == "out/b.png":  # the user's own, as the output is not begun
            job = restore_job([str(source)], str(output), images=None, task=DENOISE)
    restore_job([str(source)], str(output), images=None, task=DENOISE)
    assert [row["id"] for row in read_manifest(job.manifest).to_pylist()] == ["a", "done/b"]
    assert "1 pictures left out" in capsys.readouterr().err
    shutil.copy(photos / "coffee.png", source / "new.png")
    with pytest.raises(ManifestError, match=r"choose another output$"):  # images/ holds one
        restore_job([str(source)], str(output), images=None, task=DENOISE)


def test_images_of_a_job_that_never_began(photos, tmp_path):
    job = ["restore", tmp_path / "in", "-o", tmp_path / "out", "--task", "denoise", "--noise", 0.1]
    (tmp_path / "in").mkdir()
    shutil.copy(photos / "coffee.png", tmp_path / "in" / "a.png")
    assert "no such file: /no.pt" in diffpir(*job, "--model", "/no.pt").stderr
    shutil.copy(photos / "coffee.png", tmp_path / "in" / "b.png")
    assert "or remove that file" in diffpir(*job).stderr


def test_an_empty_folder_is_said_in_words(tmp_path):
    result = diffpir("restore", tmp_path, "-o", tmp_path / "o", "--task", "denoise", "--noise", 0.1)
    assert result.exit_code == 2 and "no images found" in result.stderr


def test_run_resumes_verifies_and_starts_anew_only_when_told(finished):
    job, out = finished / "job.yaml", finished / "out"
    result = diffpir("verify", out)
    assert result.exit_code == 0 and "3 rows (1 failed)" in result.stderr
    assert diffpir("run", job).exit_code == 3  # finished already: the same answer
    assert diffpir("run", job, "--retry-failed").exit_code == 3
    result = diffpir("run", job, "--fresh")
    assert result.exit_code == 2 and "holds an earlier run" in result.stderr
    result = diffpir("run", job, "--overwrite")
    assert result.exit_code == 2 and "--fresh" in result.stderr
    before = json.loads((out / "run.json").read_text())["created"]
    assert diffpir("run", job, "--fresh", "--overwrite").exit_code == 3
    assert json.loads((out / "run.json").read_text())["created"] >= before
    part = next((out / "results").glob("*.parquet"))
    data = part.read_bytes()
    part.write_bytes(data[:-9])
    result = diffpir("verify", out)
    part.write_bytes(data)
    assert result.exit_code == 3 and part.name in result.stdout
    assert diffpir("verify", finished).exit_code == 2


def test_a_job_that_cannot_go_on_says_so_and_exits_with_1(finished, tmp_path):
    text = (finished / "job.yaml").read_text().replace(f"{finished}/out", f"{tmp_path}/out")
    places = [tmp_path / "png" / f"{name}.png" for name in ("coffee", "sub/chelsea")]
    for place in places:
        place.mkdir(parents=True)  # folders where pictures should go
    text = text.replace("{manifest", f"{{images: {tmp_path}/png, manifest")
    (tmp_path / "job.yaml").write_text(text)
    result = diffpir("run", tmp_path / "job.yaml")
    assert result.exit_code == 1, result.output
    (line,) = (line for line in result.stderr.splitlines() if "stopped: " in line)
    assert line.removeprefix("stopped: is a folder, not a file: ") in map(str, places)
    assert "Traceback" not in result.output and "attempts" not in result.output
    for place in places:
        place.rmdir()
    assert diffpir("run", tmp_path / "job.yaml").exit_code == 3


def test_compiling_without_a_compiler_is_refused_before_any_work(photos, tmp_path):
    """By Ray's processes, so in a Ray of its own, where none finds a compiler."""
    tools = tmp_path / "bin"
    tools.mkdir()
    for name in ("bash", "env", "ls", "ps", "sh"):
        if where := shutil.which(name):
            (tools / name).symlink_to(where)
    command = ["-m", "jobs", "restore", photos, "-o", tmp_path / "out", "--task", "denoise"]
    done = subprocess.run(
        [sys.executable, *map(str, command), "--noise", "0.1", "--compile"],
        env={**os.environ, "PATH": str(tools), "CXX": "", "RAY_ADDRESS": ""},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 2, done.stderr
    assert "error: --compile: this machine cannot (" in done.stderr and not done.stdout
    assert "Traceback" not in done.stderr
    assert os.listdir(tmp_path / "out") == ["manifest.parquet"]


def test_metrics_are_what_the_rows_say(finished):
    rows = pq.ParquetDataset(finished / "out" / "results").read().to_pylist()
    psnr = np.array([row["psnr"] for row in rows if row["status"] == "ok"])
    records = json.loads(diffpir("metrics", finished / "out", "--format", "json").stdout)
    record = next(r for r in records if r["metric"] == "psnr")
    assert (record["rows"], record["failed"], record["count"]) == (3, 1, 2)
    assert record["mean"] == pytest.approx(psnr.mean())
    assert record["std"] == pytest.approx(psnr.std(ddof=1))
    assert record["sem"] == pytest.approx(psnr.std(ddof=1) / 2**0.5)
    assert record["median"] == pytest.approx(np.median(psnr))
    assert record["q05"] == pytest.approx(np.quantile(psnr, 0.05))
    assert (record["min"], record["max"]) == (psnr.min(), psnr.max())
    gain = next(r for r in records if r["metric"] == "gain")
    baseline = next(r for r in records if r["metric"] == "baseline_psnr")
    assert gain["mean"] == pytest.approx(record["mean"] - baseline["mean"])


def test_metrics_by_a_column_in_every_format(finished):
    out = finished / "out"
    text = diffpir("metrics", out, "--by", "site", "--format", "csv").stdout
    records = list(csv.DictReader(io.StringIO(text)))
    assert {(r["site"], r["rows"], r["failed"]) for r in records} == {
        ("a", "1", "0"),
        ("b", "2", "1"),
    }
    table = diffpir("metrics", out, "--by", "sampler.nfe").stdout.splitlines()
    assert table[0].split()[:3] == ["sampler.nfe", "rows", "failed"]
    document = diffpir("metrics", out, "--by", "site", "--format", "markdown").stdout.splitlines()
    assert document[0].startswith("| site | rows | failed | metric |")
    assert document[1].startswith("| --- | ---: | ---: | --- |") and len(document) == 2 + 14
    assert table[1].split()[:4] == ["2", "3", "1", "psnr"]
    by_status = json.loads(diffpir("metrics", out, "--by", "status", "--format", "json").stdout)
    assert {r["status"] for r in by_status} == {"ok", "error"}
    for column, words in [("sight", "no column 'sight'"), ("sampler.x", "sampler.x")]:
        result = diffpir("metrics", out, "--by", column)
        assert result.exit_code == 2 and words in result.stderr
    assert diffpir("metrics", finished / "nowhere").exit_code == 2


def test_damaged_records_of_an_output_are_named_without_a_traceback(finished, tmp_path):
    out = tmp_path / "out"
    shutil.copytree(finished / "out", out)
    job = tmp_path / "job.yaml"
    job.write_text((finished / "job.yaml").read_text().replace(f"{finished}/out", str(out)))

    (out / "drivers").mkdir(exist_ok=True)
    (out / "drivers" / "0123456789ab.json").write_text('{"ho')
    result = diffpir("status", out)
    assert result.exit_code == 4 and "driver on an unknown machine" in result.stdout
    (out / "drivers" / "0123456789ab.json").unlink()

    (out / "summary.json").write_text("[]")
    assert diffpir("status", out).exit_code == 1  # as if it had stopped before its summary
    assert diffpir("run", job).exit_code == 3  # which writes it again
    assert diffpir("status", out).exit_code == 3

    for text in ("{}", "[", '{"id": "x", "identity": {}, "plan": [1]}'):
        (out / "run.json").write_text(text)
        for command in (("status", out), ("verify", out), ("run", job)):
            result = diffpir(*command)
            assert result.exit_code == 2, (command, result.stderr)
            assert f"{out}/run.json is not a record of a run" in result.stderr


def test_manifest_check_says_what_is_wrong_row_by_row(finished, photos):
    result = diffpir("manifest", "check", finished / "m.jsonl")
    assert result.exit_code == 3
    assert result.stdout == f"row 3 (id 'gone'): image: no such file: {photos}/gone.png\n"
    assert diffpir("manifest", "check", finished / "m.parquet", "--deep").exit_code == 0


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


def test_the_demo_restores_scores_and_shows(tmp_path):
    result = diffpir("demo", "-o", tmp_path / "demo", "--nfe", 2)
    assert result.exit_code == 0, result.output
    assert "inpaint" in result.stdout and "baseline_psnr" in result.stdout
    sheet = decoded((tmp_path / "demo" / "contact-sheet.png").read_bytes())
    assert sheet.shape[0] > 700 and sheet.std() > 20


def test_a_file_where_a_folder_should_be_is_said_in_words(photos, tmp_path):
    (tmp_path / "file").write_text("")
    diffpir("manifest", "build", photos, "-o", tmp_path / "m.csv")
    for arguments in (["demo"], ["train", tmp_path / "m.csv", "--steps", 1, "--crop", 16]):
        result = diffpir(*arguments, "-o", tmp_path / "file")
        assert result.exit_code == 2 and "is a file, not a folder" in result.stderr
        result = diffpir(*arguments, "-o", "/proc/none")
        assert result.exit_code == 2 and "/proc/none: No such file" in result.stderr
        result = diffpir(*arguments, "-o", "s3://bucket/prior")
        assert result.exit_code == 2 and "not a URI" in result.stderr
    assert diffpir("demo", "-o", tmp_path / "d", "--nfe", 1).exit_code == 2


def test_an_error_without_a_file_is_said_as_it_is(capsys):
    for error in (PermissionError("port 1 is taken"), FileExistsError("port 1 is taken")):
        with pytest.raises(typer.Exit), user_errors():
            raise error
        assert capsys.readouterr().err.strip() == "error: port 1 is taken"


def test_infinite_psnr_and_missing_groups_are_counted_apart():
    table = pa.table(
        {
            "status": ["ok", "ok", "ok"],
            "site": pa.array([1.0, None, None]),
            **{name: pa.array([float("inf"), 30.0, None]) for name in METRICS},
        }
    )
    whole = next(r for r in aggregate(table, None) if r["metric"] == "psnr")
    assert (whole["rows"], whole["count"], whole["mean"]) == (3, 1, 30.0)
    groups = {r["site"]: r["rows"] for r in aggregate(table, "site")}
    assert groups == {1.0: 1, None: 2}


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


def test_weights_of_photographs_are_numbers(photos, tmp_path):
    manifest = tmp_path / "m.csv"
    for texts, words in [
        ((" .5", "+1"), None),
        (("NA", "1"), "row 1: weight is 'NA', expected a number of 0 or more"),
        (("1", ""), "row 2: weight is None"),
        (("1", "-1"), "row 2: weight is -1"),
        (("True", "True"), "row 1: weight is True"),
        (("0", "0"), "'weight' is 0 in every row"),
    ]:
        rows = zip(("coffee", "sub/chelsea"), texts, strict=True)
        lines = [f"{name},{photos}/{name}.png,{text}" for name, text in rows]
        manifest.write_text("\n".join(["id,image,weight", *lines]))
        if words:
            with pytest.raises(PipelineError, match=words):
                photographs_of(str(manifest), 16)
        else:
            assert photographs_of(str(manifest), 16)[1] == [0.5, 1.0]


def test_compare_pairs_two_runs_by_id(finished, tmp_path):
    """One more evaluation per image, and one image that the other run did not have."""
    rows = [json.loads(line) for line in (finished / "m.jsonl").read_text().splitlines()]
    rows = [rows[1], rows[0], {**rows[0], "id": "more"}]
    (tmp_path / "m.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    text = (finished / "job.yaml").read_text().replace(str(finished), str(tmp_path))
    (tmp_path / "job.yaml").write_text(text.replace("{nfe: 2}", "{nfe: 3}"))
    assert diffpir("run", tmp_path / "job.yaml").exit_code == 0

    def psnr(folder) -> dict[str, float]:
        table = pq.ParquetDataset(folder / "out" / "results").read(["id", "psnr"])
        return dict(zip(*table.to_pydict().values(), strict=True))

    a, b = psnr(finished), psnr(tmp_path)
    d = np.array([b[row["id"]] - a[row["id"]] for row in rows[:2]])
    result = diffpir("compare", finished / "out", tmp_path / "out", "--format", "json")
    assert result.exit_code == 0
    assert "2 ids in both (failed: 0 in A, 0 in B), 1 only in A, 1 only in B" in result.stderr
    record = next(r for r in json.loads(result.stdout) if r["metric"] == "psnr")
    assert (record["pairs"], record["b_higher"]) == (2, np.mean(d > 0))
    assert record["difference"] == pytest.approx(d.mean())
    half = 12.706 * d.std(ddof=1) / np.sqrt(2)  # Student's t for one degree of freedom
    assert record["low"] == pytest.approx(d.mean() - half, rel=1e-3)
    assert record["high"] == pytest.approx(d.mean() + half, rel=1e-3)
    (tmp_path / "m.jsonl").write_text(json.dumps({**rows[0], "id": "other"}) + "\n")
    (tmp_path / "job.yaml").write_text(text.replace("/out,", "/out2,"))
    diffpir("run", tmp_path / "job.yaml")
    result = diffpir("compare", finished / "out", tmp_path / "out2")
    assert result.exit_code == 2 and "no id in common" in result.stderr


def test_a_wrong_job_is_refused_before_the_cluster_hears_of_it(finished, tmp_path):
    text = (finished / "job.yaml").read_text()
    nowhere = ("--address", "http://127.0.0.1:9")
    before = dict(os.environ)

    def refused(text: str, *options) -> str:
        (tmp_path / "job.yaml").write_text(text)
        result = diffpir("submit", tmp_path / "job.yaml", *nowhere, *options)
        assert result.exit_code == 2
        return result.stderr

    words = refused(text.replace(f"{finished}/out", "out"))
    assert "absolute paths on a file system" in words and "output: out" in words
    more = text.replace("mode:", "perceptual: {inception: i.pth}, mode:")
    assert "perceptual.inception: i.pth" in refused(more)
    assert "sampler.nfe" in refused(text.replace("nfe: 2", "nfe: two"))
    assert "not set here: NO_SUCH" in refused(text, "--env", "NO_SUCH")
    assert "no Ray cluster answers at http://127.0.0.1:9" in refused(text)
    assert "it goes with --fresh" in refused(text, "--overwrite")
    assert "no Ray cluster" in refused(text, "--overwrite", "--fresh")
    assert dict(os.environ) == before


def test_code_of_a_job_file_runs_only_where_command_or_configuration_allow_it(
    photos, tmp_path, monkeypatch
):
    proof, manifest = tmp_path / "proof", tmp_path / "m.parquet"
    diffpir("manifest", "build", photos, "-o", manifest)
    (tmp_path / "job.yaml").write_text(
        f"manifest: {manifest}\noutput: {tmp_path}/out\n"
        "task: {kind: linear, operator: 'subprocess:check_output', noise_level: 0.1, "
        f"options: {{args: touch {proof}, shell: true}}}}\n"
    )
    config = tmp_path / "config.yaml"
    monkeypatch.setenv("DIFFPIR_CONFIG", str(config))

    def run(*options: str) -> str:
        result = diffpir("run", tmp_path / "job.yaml", *options)
        assert result.exit_code == 2 and "Traceback" not in result.output
        return " ".join(result.output.split())

    assert "no such file" in run()
    config.write_text("allow_code: [json]\n")
    words = run("--allow-code", "shutil")
    assert "task.operator: subprocess:check_output is Python code" in words
    assert "--allow-code subprocess" in words and not proof.exists()
    assert not (tmp_path / "out").exists()
    config.write_text("allow_cod: [json]\n")
    assert "config.yaml: allow_cod: Extra inputs" in run()
    config.write_text("allow_code: [subprocess]\n")
    assert "returned bytes, expected an object with the methods forward and adjoint" in run()
    assert proof.exists()  # now it was the user's word


def test_a_cluster_that_is_not_there_is_said_in_words(photos, tmp_path):
    command = [sys.executable, "-m", "jobs", "restore", photos, "-o", tmp_path / "out"]
    ended = subprocess.run(
        [*command, "--task", "denoise", "--noise", "0.1"],
        env={**os.environ, "RAY_ADDRESS": f"127.0.0.1:{free_port()}"},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert ended.returncode == 2 and "Traceback" not in ended.stderr
    assert "no Ray cluster at RAY_ADDRESS=127.0.0.1:" in ended.stderr
