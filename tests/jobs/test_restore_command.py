"""``diffpir restore``: its options, its sources and what it writes."""

from __future__ import annotations

import shutil

import numpy as np
import pytest
from PIL import Image

from jobs.restore import other_fields, restore_job
from manifests.errors import ManifestError
from manifests.read import read_manifest
from tests.command_line import diffpir
from tests.pictures import decoded, photograph

DENOISE = {"kind": "denoise", "noise_level": 0.1}
pytestmark = pytest.mark.usefixtures("ray_cluster")


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
        (["--task", "linear", "--noise", 0], "--set operator is required for linear"),
        (["--task", "declip", "--set", "hihg=0.8"], "--set hihg: unknown key (did you mean 'high'"),
        (["--task", "declip", "--set", "high=2"], "--set high: "),
        (["--task", "declip", "--set", "low=0.9", "--set", "high=0.8"], "--set low: must be below"),
        (["--task", "declip", "--set", "high=[0.8"], "--set: expected FIELD=VALUE, such as"),
        (["--task", "declip", "--set", "hihg=null"], "--set: expected FIELD=VALUE"),
        (["--task", "declip", "--set", "high=#0.8"], "--set: expected FIELD=VALUE"),
        (["--task", "declip", "--set", "high-=1"], "--set: expected FIELD=VALUE"),
        (["--task", "sr", "--factor", 2, "--noise", 0, "--set", "quality=5"], "--set quality: "),
        (["--task", "declip", "--set", "high"], "FIELD=VALUE, such as pattern=bggr, got 'high'"),
        (["--task", "declip", "--set", "low=0\nhigh: 1"], "FIELD=VALUE, such as pattern=bggr, got"),
        (
            ["--task", "declip", "--set", "high=1", "--set", "high=1"],
            "--set high: it is given twice",
        ),
        (["--task", "declip", "--set", "noise_level=0"], "--set noise_level: give it by --noise"),
        (["--task", "declip", "--set", "kind=sr"], "--set kind: give it by --task"),
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


def test_fields_without_an_option_of_their_own_are_those_of_a_job_file(photos, tmp_path):
    fields = other_fields(["low=[0, 0.1, 0.2]", "high = 0.8", "ceiling=1.5"])
    assert fields == {"low": [0, 0.1, 0.2], "high": 0.8, "ceiling": 1.5}
    out = str(tmp_path / "out")
    spec = restore_job([str(photos)], out, images=None, task={"kind": "declip", **fields})
    assert (spec.task.low, spec.task.high, spec.task.ceiling) == ((0, 0.1, 0.2), 0.8, 1.5)


def test_a_mosaic_is_read_in_the_order_of_colours_that_set_gives(tiny_model, tmp_path):
    (tmp_path / "raw").mkdir()
    red = np.zeros((16, 16), np.uint8)
    red[1::2, 1::2] = 200  # the last of four colours
    Image.fromarray(red).save(tmp_path / "raw/red.png")
    options = ("--task", "demosaic", "--noise", 0, "--model", tiny_model, "--nfe", 2)
    shown = {}
    for pattern in ("bggr", "rggb"):
        out = tmp_path / pattern
        given = (*options, "--set", f"pattern={pattern}", "--images", out)
        result = diffpir("restore", tmp_path / "raw", "-o", tmp_path / f"{pattern}-out", *given)
        assert result.exit_code == 0, result.output
        shown[pattern] = np.asarray(Image.open(out / "red.png"))[1::2, 1::2].mean((0, 1))
    assert shown["bggr"][0] == shown["rggb"][2] == 200  # what was measured is kept


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
