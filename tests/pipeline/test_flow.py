"""The whole flow, on real images and a real Ray."""

from __future__ import annotations

import io
import json
import os
from pathlib import Path

import imagecodecs
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset as ds
import pyarrow.parquet as pq
import pytest
import ray
import torch
from PIL import Image
from pydantic import ValidationError

from diffpir import metrics
from diffpir.blind import estimate_blur
from diffpir.kernels import gaussian_kernel
from diffpir.operators import Downsample
from manifests.build import build, write_manifest
from pipeline.arrays import pack
from pipeline.errors import PipelineError
from pipeline.flow.resources import ALLOCATION
from pipeline.pictures.colour import srgb_profile
from pipeline.run import run_job
from pipeline.schema import HIDDEN, IMAGE_METADATA, OUTCOME
from pipeline.spec.job import JobSpec
from pipeline.spec.picture import PictureFile
from pipeline.steps.encode import Encode
from pipeline.tasks.row import to_tensor
from tests.pictures import decoded, photograph, save_broken, save_kinds

pytestmark = pytest.mark.usefixtures("ray_cluster")

KERNEL = {"gaussian": {"size": 9, "std": 1.5}}
TASKS = {
    "deblur": {"kind": "deblur", "kernel": KERNEL, "noise_level": 0.05},
    "motion": {"kind": "deblur", "kernel": {"motion": {"size": 11}}, "noise_level": 0.02},
    "sr": {"kind": "sr", "factor": 4, "noise_level": 0.05},
    "denoise": {"kind": "denoise", "noise_level": 0.1},
    "inpaint": {"kind": "inpaint", "mask": {"random": 0.5}},
}


@pytest.fixture(scope="module")
def photographs(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("photographs")
    for i, (width, height) in enumerate([(48, 40), (32, 32), (48, 40), (37, 51), (32, 32)]):
        name = ("astronaut", "chelsea", "coffee", "rocket", "chelsea")[i]
        photograph(width, height, name).save(folder / f"{name}-{i}.png")
    return folder


def job(manifest, output, model, **settings) -> JobSpec:
    return JobSpec.model_validate(
        {
            "manifest": str(manifest),
            "output": str(output),
            "mode": "benchmark",
            "task": TASKS["deblur"],
            "model": model,
            "sampler": {"nfe": 3},
            "actors": 1,  # each takes seconds to start
            **settings,
        }
    )


def manifest_of(folder: Path, path: Path, **columns) -> Path:
    table = build(str(folder))
    for name, values in columns.items():
        table = table.append_column(name, [values])
    write_manifest(table, str(path))
    return path


def results(output) -> pa.Table:
    return ds.dataset(str(Path(output) / "results"), format="parquet").to_table().sort_by("id")


@pytest.mark.parametrize("kind", TASKS)
def test_every_task_restores_and_scores_images_of_mixed_sizes(
    kind, photographs, tiny_model, tmp_path
):
    manifest = manifest_of(photographs, tmp_path / "m.parquet")
    spec = job(manifest, tmp_path / "out", tiny_model, task=TASKS[kind], images=str(tmp_path / "i"))
    summary = run_job(spec)
    assert (summary.rows, summary.ok, summary.failed) == (5, 5, 0)
    table = results(tmp_path / "out")
    assert set(OUTCOME.names) < set(table.column_names)
    source = pq.read_table(manifest)
    for row in table.to_pylist():
        assert row["status"] == "ok" and row["error"] == ""
        original = decoded(
            Path(source.filter(pc.equal(source["id"], row["id"]))["image"][0].as_py()).read_bytes()
        )
        factor = 4 if kind == "sr" else 1
        original = original[
            : original.shape[0] // factor * factor, : original.shape[1] // factor * factor
        ]
        picture = decoded(row["restored"]["bytes"])
        assert picture.shape == original.shape == (row["height"], row["width"], 3)
        a, b = to_tensor(picture), to_tensor(original)
        assert row["psnr"] == pytest.approx(metrics.psnr(a, b).item(), abs=1e-4)
        assert row["psnr_y"] == pytest.approx(metrics.psnr_y(a, b).item(), abs=1e-4)
        assert row["ssim"] == pytest.approx(metrics.ssim(a, b).item(), abs=1e-4)
        assert row["baseline_psnr"] > 5 and row["residual"] >= 0 and row["seconds"] > 0
        assert row["task"] == TASKS[kind]["kind"] and row["sampler"]["nfe"] == 3
        assert row["noise_level"] == TASKS[kind].get("noise_level", 0.0)
        assert len(row["model"]) == 64
        assert (tmp_path / "i" / row["restored"]["path"]).read_bytes() == row["restored"]["bytes"]


def test_results_depend_on_seed_and_id_alone(photographs, tiny_model, tmp_path):
    """Not on the batch, the number of actors, the order, the format or the cut into shards."""
    table = build(str(photographs))
    write_manifest(table, str(tmp_path / "m.parquet"))
    write_manifest(table.take(pa.array([4, 2, 0, 3, 1])), str(tmp_path / "m.csv"))
    settings = {"precision": "fp32", "task": TASKS["motion"]}
    variants = {
        "one": job(
            tmp_path / "m.parquet", tmp_path / "one", tiny_model, batch_pixels=1, **settings
        ),
        "two": job(
            tmp_path / "m.csv", tmp_path / "two", tiny_model,
            batch_pixels=12000, actors=2, shard_rows=2, **settings,
        ),
        "seed": job(tmp_path / "m.parquet", tmp_path / "seed", tiny_model, seed=1, **settings),
    }  # fmt: skip
    pictures = {}
    for name, spec in variants.items():
        run_job(spec)
        rows = results(tmp_path / name).to_pylist()
        pictures[name] = {r["id"]: decoded(r["restored"]["bytes"]).astype(int) for r in rows}
    assert len(pictures["one"]) == 5
    for image_id, one in pictures["one"].items():
        difference = np.abs(one - pictures["two"][image_id])
        assert difference.max() <= 1 and (difference > 0).mean() <= 0.001
        assert np.abs(one - pictures["seed"][image_id]).mean() > 1


def test_bad_rows_are_rows_and_the_others_are_restored(tiny_model, tmp_path):
    good = save_kinds(tmp_path / "good")
    bad = save_broken(tmp_path / "bad")
    rows = [{"id": name, "image": str(path)} for name, path in {**good, **bad}.items()]
    rows += [
        {"id": "missing", "image": "nowhere/at all.png"},
        {"id": "folder", "image": str(tmp_path)},
        {"id": "no image", "image": ""},
        {"id": "scheme", "image": "s4://bucket/key.png"},
        {"id": "noise", "image": str(good["rgb.png"]), "noise_level": 7.0},
        {"id": "kernel", "image": str(good["rgb.png"]), "kernel": str(good["bilevel.png"])},
        {"id": "no kernel", "image": str(good["rgb.png"]), "kernel": str(bad["text.png"])},
        {"id": "reference", "image": str(good["rgb.png"]), "reference": str(good["turned.jpg"])},
    ]
    (tmp_path / "m.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    spec = job(
        tmp_path / "m.jsonl", tmp_path / "out", tiny_model,
        mode="restore", task={**TASKS["deblur"], "kernel": KERNEL},
    )  # fmt: skip
    summary = run_job(spec)
    table = {row["id"]: row for row in results(tmp_path / "out").to_pylist()}
    assert len(table) == summary.rows == len(rows)
    failed = {name: row["error"] for name, row in table.items() if row["status"] == "error"}
    assert failed.keys() == table.keys() - good.keys() - {"kernel"}
    assert summary.failed == len(failed)
    for name, words in {
        "empty.png": "image: the image file is empty",
        "text.png": "not an image",
        "truncated.png": "cannot be decoded",
        "damaged.png": "cannot be decoded",
        "animated.gif": "2 frames",
        "missing": f"image: no such file: {tmp_path}/nowhere/at all.png",
        "folder": "is a folder",
        "no image": "image: the row names none",
        "scheme": "s4",
        "noise": "noise_level: expected from 0 to 1, got 7.0",
        "no kernel": "kernel: the image cannot be decoded|kernel: the file is not an image",
        "reference": "the reference is 40 x 48 pixels, expected 48 x 40",
    }.items():
        assert any(word in failed[name] for word in words.split("|")), (name, failed[name])
        assert table[name]["restored"] is None and table[name]["psnr"] is None
    for name in good:
        picture = decoded(table[name]["restored"]["bytes"])
        grey = name in ("grey.png", "bilevel.png", "sixteen.png", "sixteen.tif", "float.tif")
        assert picture.ndim == (2 if grey else 3), name
        assert picture.shape[:2] == ((48, 40) if name == "turned.jpg" else (40, 48)), name


def test_rows_have_their_own_kernel_noise_mask_seed_and_columns(tiny_model, tmp_path):
    picture = photograph(24, 20)
    picture.save(tmp_path / "a.png")
    mask = np.zeros((20, 24), bool)
    mask[:, :12] = True
    np.save(tmp_path / "mask.npy", mask)
    rows = [
        {"id": "a", "image": "a.png", "mask": "mask.npy", "site": "x", "n": 1},
        {"id": "b", "image": "a.png", "mask": "mask.npy", "noise_level": 0.2, "site": "y", "n": 2},
        {"id": "c", "image": "a.png", "mask": "mask.npy", "seed": 9, "site": None, "n": 3},
        {"id": "d", "image": "a.png", "site": "z", "n": 4},
        {"id": "e", "image": "gone.png", "noise_level": 0.25, "width": 7, "seed": 3},
    ]
    (tmp_path / "m.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    spec = job(
        tmp_path / "m.jsonl", tmp_path / "out", tiny_model,
        mode="restore", task={"kind": "inpaint"},
    )  # fmt: skip
    run_job(spec)
    table = {row["id"]: row for row in results(tmp_path / "out").to_pylist()}
    assert [r["site"] for r in table.values()] == ["x", "y", None, "z", None]
    assert [r["n"] for r in table.values()] == [1, 2, 3, 4, None]
    assert [r["noise_level"] for r in table.values()] == [0.0, 0.2, 0.0, None, 0.25]
    assert [r["seed"] for r in table.values()] == [0, 0, 9, 0, 3]
    # A failed row keeps what the manifest said.
    assert [r["width"] for r in table.values()] == [24, 24, 24, None, 7]
    assert table["e"]["height"] is None and table["e"]["status"] == "error"
    assert "no mask" in table["d"]["error"]
    a, b = (decoded(table[name]["restored"]["bytes"]) for name in "ab")
    original = np.asarray(picture)
    assert np.array_equal(a[mask], original[mask])  # no noise: what was known is kept
    assert not np.array_equal(b[mask], original[mask])
    assert np.abs(a[~mask].astype(int) - original[~mask]).mean() > 5


def save_pictures_as_made(folder: Path) -> dict[str, np.ndarray]:
    """A file of each kind whose pixels are not all that counts; the transparency of some."""
    rgb = np.asarray(photograph(24, 20))
    alpha = np.arange(480, dtype=np.uint16).reshape(20, 24) % 256
    eight = alpha.astype(np.uint8)
    Image.fromarray(np.dstack([rgb, eight])).save(folder / "rgba.png")
    Image.fromarray(np.dstack([rgb[..., 0], eight])).save(folder / "la.png")
    deep = np.dstack([rgb.astype(np.uint16) * 257, alpha * 257 + 1])
    (folder / "deep.png").write_bytes(imagecodecs.png_encode(deep))
    exif = Image.Exif()
    exif[0x0110], exif[0x0112] = "Model 5", 6
    profile = imagecodecs.cms_profile("adobergb")
    Image.fromarray(rgb).save(
        folder / "camera.jpg", exif=exif, icc_profile=profile, dpi=(300, 300), quality=95
    )
    return {"rgba": alpha * 257, "la": alpha * 257, "deep": alpha * 257 + 1}


@pytest.mark.parametrize("format", ["png", "tiff"])
def test_what_a_picture_has_beside_its_pixels_is_in_the_result(format, tiny_model, tmp_path):
    alpha = save_pictures_as_made(tmp_path)
    write_manifest(build(str(tmp_path)), str(tmp_path / "m.parquet"))
    spec = job(
        tmp_path / "m.parquet", tmp_path / "out", tiny_model, mode="restore",
        task={"kind": "denoise", "noise_level": 0.1}, images=str(tmp_path / "i"),
        picture={"format": format, "bits": 16},
    )  # fmt: skip
    assert run_job(spec).ok == 4
    table = {row["id"]: row["restored"] for row in results(tmp_path / "out").to_pylist()}
    decode = imagecodecs.png_decode if format == "png" else imagecodecs.tiff_decode
    for name, shape in {
        "rgba": (20, 24, 4), "la": (20, 24, 2), "deep": (20, 24, 4), "camera": (24, 20, 3),
    }.items():  # fmt: skip
        assert table[name]["path"] == name + {"png": ".png", "tiff": ".tif"}[format]
        assert (tmp_path / "i" / table[name]["path"]).read_bytes() == table[name]["bytes"]
        samples = decode(table[name]["bytes"])
        assert samples.shape == shape and samples.dtype == np.uint16
        assert np.unique(samples[..., 0] % 257).size > 100  # not 8 bits, spread
        if name in alpha:
            assert np.array_equal(samples[..., -1], alpha[name])
    camera = Image.open(io.BytesIO(table["camera"]["bytes"]))
    assert camera.getexif()[0x0110] == "Model 5" and 0x0112 not in camera.getexif()
    assert camera.info["icc_profile"] == srgb_profile()
    assert camera.info["dpi"] == pytest.approx((300, 300), rel=1e-3)


def test_transparency_grows_with_its_picture_and_a_benchmark_knows_none(tiny_model, tmp_path):
    save_pictures_as_made(tmp_path)
    (tmp_path / "deep.png").unlink()
    (tmp_path / "camera.jpg").unlink()
    write_manifest(build(str(tmp_path)), str(tmp_path / "m.parquet"))
    settings = {"task": {"kind": "sr", "factor": 2, "noise_level": 0.1}, "picture": "webp"}
    for mode, shape in (("restore", (40, 48, 4)), ("benchmark", (20, 24, 3))):
        output = tmp_path / mode
        assert run_job(job(tmp_path / "m.parquet", output, tiny_model, mode=mode, **settings)).ok
        for row in results(output).to_pylist():
            assert decoded(row["restored"]["bytes"]).shape == shape
            assert row["restored"]["path"] == row["id"] + ".webp"


def test_a_picture_too_large_for_its_format_is_a_failed_row():
    pixels = np.zeros((1, 16384), np.uint8)
    table = pa.table(
        {
            "row": pa.array([{"id": "a"}, {"id": "b"}]),
            "error": pa.repeat("", 2),
            "error_kind": pa.repeat("", 2),
            "outcome": pa.array([{"psnr": 9.0}] * 2, pa.struct(OUTCOME)),
            "pixels": pack([pixels, pixels[:, :9]]),
            "uncertainty_pixels": pack([None, None]),
            "sample_pixels": pack([None, None]),
            "step_pixels": pack([None, None]),
            "step_names": pa.array([None, None], pa.list_(pa.string())),
            "alpha": pack([None, None]),
            "metadata": pa.nulls(2, IMAGE_METADATA),
            **{name: pa.repeat(0, 2) for name in HIDDEN},
        }
    )
    wide, other = Encode(None, PictureFile(format="webp"))(table).to_pylist()
    assert (wide["status"], wide["error_kind"]) == ("error", "too_large")
    assert wide["restored"] is None and wide["psnr"] is None
    assert other["status"] == "ok" and other["restored"]["path"] == "b.webp"


def test_a_resumed_job_does_only_what_is_left_and_a_changed_one_is_refused(
    photographs, tiny_model, tmp_path
):
    manifest = manifest_of(photographs, tmp_path / "m.parquet")
    spec = job(manifest, tmp_path / "out", tiny_model, shard_rows=1)  # batches of one, every time
    run_job(spec)
    first = results(tmp_path / "out")
    parts = sorted((tmp_path / "out" / "results").iterdir())
    assert len(parts) == 5
    kept = {p: p.stat().st_mtime_ns for p in parts[1:]}
    parts[0].unlink()  # as if the run had died before it created this one
    of_another_run = parts[0].with_stem(parts[0].stem[:-12] + "0123456789ab")
    of_another_run.write_bytes(b"")
    (parts[0].parent / f".{'0' * 32}.partial").write_bytes(b"left by a killed writer")
    reported = []
    run_job(spec, on_progress=reported.append)
    assert reported[-1].done == 5 and reported[-1].done_now == 1
    assert sorted((tmp_path / "out" / "results").iterdir()) == parts
    assert kept == {p: p.stat().st_mtime_ns for p in parts[1:]}
    assert list((tmp_path / "out" / "drivers").iterdir()) == []
    again = results(tmp_path / "out")
    assert again.drop_columns("seconds").equals(first.drop_columns("seconds"))

    changed = job(manifest, tmp_path / "out", tiny_model, sampler={"nfe": 4}, seed=5)
    with pytest.raises(PipelineError, match=r"sampler\.nfe was 3, is 4; seed was 0, is 5"):
        run_job(changed)
    more_actors = job(manifest, tmp_path / "out", tiny_model, actors=2, batch_pixels=1)
    assert run_job(more_actors).rows == 5  # what does not decide the result may change


@pytest.mark.parametrize(
    "settings, words",
    [
        ({"manifest": "nowhere.parquet"}, "no such file"),
        ({"task": {"kind": "deblur", "noise_level": 0.1}}, "task.kernel: neither given"),
        ({"task": {"kind": "denoise"}}, "task.noise_level: neither given"),
        ({"task": {"kind": "inpaint"}}, "task.mask: neither given"),
        ({"task": {**TASKS["deblur"], "kernel": "nowhere.npy"}}, "nowhere.npy"),
        ({"model": "nowhere.pt"}, "nowhere.pt"),
        ({"model": {"path": "MODEL", "label": 3}}, "takes no label"),
        ({"actors": 99}, r"^actors: the job asks for 99 actor\(s\), the cluster has room for"),
        ({"resources": {"scanner": 1}}, r"^resources\.scanner: the job asks for 1 actor\(s\)"),
        ({"images": "/dev/null/pictures"}, "^images: cannot be written: .*Not a directory"),
    ],
)
def test_a_wrong_job_fails_before_any_work(settings, words, photographs, tiny_model, tmp_path):
    from manifests.errors import ManifestError

    manifest = manifest_of(photographs, tmp_path / "m.parquet")
    settings = json.loads(json.dumps(settings).replace("MODEL", tiny_model))
    usual = {"manifest": manifest, "output": tmp_path / "out", "model": tiny_model}
    spec = job(**{**usual, **settings})
    with pytest.raises((PipelineError, ManifestError), match=words):
        run_job(spec)
    assert not (tmp_path / "out").exists()


def test_kernels_from_a_file_are_drawn_for_each_image(photographs, tiny_model, tmp_path):
    manifest = manifest_of(photographs, tmp_path / "m.parquet")
    rng = np.random.default_rng(0)
    np.savez(tmp_path / "k.npz", a=rng.random((5, 5)), b=rng.random((7, 7)))
    several = {"kind": "deblur", "kernel": str(tmp_path / "k.npz"), "noise_level": 0.0}
    one = {**several, "kernel": {"file": str(tmp_path / "k.npz"), "name": "a"}}
    assert run_job(job(manifest, tmp_path / "1", tiny_model, task=several)).ok == 5
    assert run_job(job(manifest, tmp_path / "2", tiny_model, task=one)).ok == 5
    psnr = [results(tmp_path / n)["baseline_psnr"].to_pylist() for n in "12"]
    same = np.isclose(*psnr)
    assert same.any() and not same.all()  # some images drew kernel a, some b
    with pytest.raises(PipelineError, match="several kernels, name one of a, b"):
        run_job(job(manifest, tmp_path / "3", tiny_model, task=several, mode="restore"))


def test_kernels_that_rows_write_out_are_checked_like_files(tiny_model, tmp_path, monkeypatch):
    picture = photograph(80, 72)
    picture.save(tmp_path / "a.png")
    rng = np.random.default_rng(0)
    measured = {f"k{i}": rng.random((5, 4 + i)) for i in range(1, 9)}
    np.savez(tmp_path / "levin.npz", **measured)
    np.save(tmp_path / "k.npy", rng.random((4, 6)))
    kernels = {
        "gaussian": {"gaussian": {"std": 1.5, "size": 13}},
        "stroke": {"motion": {"length": 9, "angle": 30}},
        "disk": "{disk: {radius: 2.5}}",
        "levin": {"levin": 3},
        "file": "k.npy",
        "job's": None,
        "wrong value": {"disk": {"radius": -1}},
        "wrong field": {"gaussian": {"sdt": 3}},
        "random": "{motion: {size: 9}}",
        "too large": "{gaussian: {size: 99, std: 20}}",
        "no text": "{{",
    }
    lines = [json.dumps({"id": k, "image": "a.png", "kernel": v}) for k, v in kernels.items()]
    (tmp_path / "m.jsonl").write_text("\n".join(lines))
    spec = job(
        tmp_path / "m.jsonl", tmp_path / "out", tiny_model,
        task={"kind": "deblur", "kernel": {"levin": 3}, "noise_level": 0.01},
    )  # fmt: skip
    monkeypatch.delenv("DIFFPIR_LEVIN", raising=False)
    with pytest.raises(PipelineError, match=r"set \$DIFFPIR_LEVIN to the path"):
        run_job(spec)
    monkeypatch.setenv("DIFFPIR_LEVIN", str(tmp_path / "k.npy"))
    with pytest.raises(PipelineError, match=r"DIFFPIR_LEVIN: .*k\.npy: expected the cells"):
        run_job(spec)
    assert not (tmp_path / "out").exists()
    monkeypatch.setenv("DIFFPIR_LEVIN", str(tmp_path / "levin.npz"))
    summary = run_job(spec)
    table = {row["id"]: row for row in results(tmp_path / "out").to_pylist()}
    errors = {name: (row["error_kind"], row["error"]) for name, row in table.items()}
    assert (summary.ok, summary.failed) == (6, 5)
    for name, words in {
        "wrong value": "kernel: disk.radius: Input should be greater than 0",
        "wrong field": "kernel: gaussian.sdt: unknown field",
        "random": "kernel: a random kernel",
        "too large": "the kernel, 99 x 99, is larger",
        "no text": "kernel: expected a kernel such as {gaussian: {std: 3}}",
    }.items():
        assert errors[name][0] == "bad_kernel" and words in errors[name][1], errors[name]
    assert table["levin"]["baseline_psnr"] == pytest.approx(table["job's"]["baseline_psnr"], abs=1)
    assert json.loads(table["stroke"]["kernel"]) == kernels["stroke"]
    assert table["file"]["baseline_psnr"] != table["disk"]["baseline_psnr"]


def test_the_noise_level_of_an_image_can_be_told_from_it(tiny_model, tmp_path):
    rng = np.random.default_rng(0)
    scene = np.asarray(photograph(96, 80)) * 0.8 + 25
    for level in (0.02, 0.1):
        noisy = scene + 255 * level * rng.standard_normal(scene.shape)
        Image.fromarray(noisy.round().clip(0, 255).astype(np.uint8)).save(tmp_path / f"{level}.png")
    Image.new("RGB", (96, 80), "white").save(tmp_path / "white.png")
    rows = [{"id": name, "image": f"{name}.png"} for name in ("0.02", "0.1", "white")]
    rows.append({"id": "told", "image": "0.1.png", "noise_level": 0.07})
    (tmp_path / "m.jsonl").write_text("\n".join(json.dumps(row) for row in rows))
    out, task = tmp_path / "out", {"kind": "denoise", "noise_level": "auto"}
    run_job(job(tmp_path / "m.jsonl", out, tiny_model, mode="restore", task=task))
    levels = {row["id"]: row for row in results(out).to_pylist()}
    assert levels["0.02"]["noise_level"] == pytest.approx(0.02, rel=0.15)
    assert levels["0.1"]["noise_level"] == pytest.approx(0.1, rel=0.15)
    assert levels["told"]["noise_level"] == 0.07
    assert levels["white"]["error_kind"] == "missing_input"
    assert "noise_level: auto: the noise level cannot be told" in levels["white"]["error"]


def test_a_blur_can_be_told_from_the_image_and_is_in_its_row(tiny_model, tmp_path):
    kernel = torch.from_numpy(gaussian_kernel(31, 2.0)).float()
    scene = to_tensor(np.asarray(photograph(140, 140, "coffee")))
    y = Downsample(kernel).forward(scene)[..., 15:-15, 15:-15]
    y = (y + 0.01 * torch.randn(y.shape, generator=torch.Generator().manual_seed(0))).clamp(0, 1)
    picture = (y[0].permute(1, 2, 0) * 255).round().byte().numpy()
    Image.fromarray(picture).save(tmp_path / "a.png")
    Image.fromarray(picture[:40]).save(tmp_path / "small.png")
    Image.new("L", picture.shape[1::-1], 255).save(tmp_path / "mask.png")
    rows = [
        {"id": "job's", "image": "a.png"},
        {"id": "row's", "image": "a.png", "kernel": "{estimate: disk}", "noise_level": 0.01},
        {"id": "written", "image": "a.png", "kernel": {"gaussian": {"std": 2}}},
        {"id": "small", "image": "small.png"},
        {"id": "masked", "image": "a.png", "mask": "mask.png"},
    ]
    (tmp_path / "m.jsonl").write_text("\n".join(json.dumps(row) for row in rows))
    task = {"kind": "deblur", "kernel": {"estimate": "gaussian"}, "noise_level": "auto"}
    spec = job(tmp_path / "m.jsonl", tmp_path / "out", tiny_model, mode="restore", task=task)
    run_job(spec)
    table = {row["id"]: row for row in results(tmp_path / "out").to_pylist()}
    estimates = {name: json.loads(r["kernel_estimate"] or "{}") for name, r in table.items()}
    assert estimates["job's"]["gaussian"]["std"] == pytest.approx(2, rel=0.2)
    radius = estimate_blur(to_tensor(picture), "disk", 0.01)
    assert estimates["row's"] == {"disk": {"radius": pytest.approx(radius)}}
    assert table["written"]["status"] == "ok" and table["written"]["kernel_estimate"] is None
    assert table["small"]["error_kind"] == table["masked"]["error_kind"] == "bad_kernel"
    assert "110 x 40 pixels are too few" in table["small"]["error"]
    assert "without a mask" in table["masked"]["error"]
    with pytest.raises(ValidationError, match="estimate belongs to mode restore"):
        job(tmp_path / "m.jsonl", tmp_path / "2", tiny_model, task=task | {"noise_level": 0.1})


def test_columns_that_nobody_reads_may_hold_anything(photographs, tiny_model, tmp_path):
    table = build(str(photographs)).slice(0, 2)
    odd = {
        "shard": pa.array(["a", "b"]),
        "far": pa.array([10**7, -(10**7)], pa.date32()),
        "zone": pa.array([0, 1], pa.timestamp("s", "Nowhere/Land")),
        "kind": pa.array(["x", None]).dictionary_encode(),
        "view": pa.array(["v", "w"], pa.string_view()),
        "nested": pa.array([{"a": [1, 2]}, None]),
        "weight": pa.array(["12kg", None]),
        "none": pa.nulls(2),
    }
    for name, values in odd.items():
        table = table.append_column(name, values)
    pq.write_table(table, tmp_path / "m.parquet")
    spec = job(tmp_path / "m.parquet", tmp_path / "out", tiny_model, shard_rows=1)
    assert run_job(spec).ok == 2
    out = results(tmp_path / "out")
    for name in odd:
        expected = table[name].cast(pa.string()) if name == "view" else table[name]
        assert out[name].cast(expected.type).combine_chunks().equals(expected.combine_chunks()), (
            name
        )


def test_secrets_in_uris_stay_out_of_the_record():
    from pipeline.output.record import without_secrets

    spec = {"model": {"path": "https://me:pw@host/m.pt?token=abc"}, "seed": 1, "images": None}
    shown = json.dumps(without_secrets(spec))
    assert "host/m.pt" in shown and not any(s in shown for s in ("pw", "abc", "me:"))


def test_rays_processes_keep_memory_and_this_one_is_as_it_was(ray_cluster):
    names = list(ALLOCATION)
    theirs = ray.remote(num_cpus=0.1)(lambda: [os.environ.get(name) for name in names]).remote()
    assert ray.get(theirs) == list(ALLOCATION.values())
    assert [os.environ.get(name) for name in names] == [None] * len(names)
