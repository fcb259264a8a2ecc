"""Features of a job's images, from its specification to the distance of sets."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch

from diffpir.perceptual.distances import FeatureStatistics, frechet_distance
from jobs.fid import KEPT, FeatureSet
from jobs.specfile import make_job
from pipeline.errors import PipelineError
from pipeline.prepare import check
from pipeline.run import run_job
from tests.command_line import diffpir
from tests.networks import features
from tests.pictures import decoded, photograph

pytestmark = pytest.mark.usefixtures("ray_cluster")


def job_of(folder, name: str, model: str, **more):
    return make_job(
        {
            "manifest": f"{folder}/{name}.jsonl",
            "output": f"{folder}/{name}",
            "mode": "benchmark",
            "task": {"kind": "denoise", "noise_level": 0.1},
            "sampler": {"nfe": 2},
            "model": model,
            "actors": 1,
            **more,
        },
        name,
    )


@pytest.fixture(scope="module")
def outputs(tmp_path_factory, tiny_model):
    """Two finished jobs of three pictures each, one of them with a row that failed."""
    folder = tmp_path_factory.mktemp("fid")
    jobs = {}
    for name, sides in (("a", (48, 40, 32)), ("b", (56, 44))):
        rows = []
        for side in sides:
            photograph(side, side - 8).save(folder / f"{side}.png")
            rows.append({"id": str(side), "image": f"{side}.png"})
        if name == "b":
            rows.append({"id": "gone", "image": "gone.png"})
        (folder / f"{name}.jsonl").write_text("\n".join(map(json.dumps, rows)))
        spec = job_of(
            folder, name, tiny_model, perceptual={"features": "tests.networks:features"},
            shard_rows=2,
        )  # fmt: skip
        run_job(spec, allow_code=["tests"])
        jobs[name] = spec.output
    plain = job_of(folder, "plain", tiny_model, shard_rows=2)
    (folder / "plain.jsonl").write_text((folder / "a.jsonl").read_text())
    run_job(plain)
    return jobs | {"plain": plain.output}


def fid(*arguments) -> tuple[int, str]:
    result = diffpir("fid", *arguments)
    return result.exit_code, result.output


def seen(pictures: list[np.ndarray]) -> FeatureStatistics:
    """Straight from pixels, one by one."""
    net = features()
    tensors = [torch.tensor(p).permute(2, 0, 1)[None].float() / 255 for p in pictures]
    with torch.inference_mode():
        return FeatureStatistics.of(torch.cat([net(x) for x in tensors]).numpy())


def test_the_distance_over_parts_and_jobs_is_that_of_the_pictures(outputs, tmp_path):
    both = [outputs["a"], outputs["b"]]
    code, text = fid(*both, "--format", "json")
    assert code == 0 and "5 images are too few for the FID of 6 features" in text
    found, kernel = json.loads(text[: text.rindex("]") + 1])
    rows = [row for output in both for row in pq.read_table(f"{output}/results").to_pylist()]
    good = [row for row in rows if row["status"] == "ok"]
    mine = seen([decoded(row["restored"]["bytes"]) for row in good])
    folder = Path(outputs["a"]).parent
    theirs = seen([decoded((folder / row["image"]).read_bytes()) for row in good])
    distance = frechet_distance(mine.mean, mine.covariance, theirs.mean, theirs.covariance)
    assert found["value"] == pytest.approx(distance, rel=1e-4) and distance > 1e-6
    assert found["restored"] == found["references"] == 5 and kernel["metric"] == "kid"

    np.savez(tmp_path / "others.npz", mu=theirs.mean, sigma=theirs.covariance)
    code, text = fid(*both, "--against", tmp_path / "others.npz", "--format", "json")
    (against,) = json.loads(text[: text.rindex("]") + 1])
    assert code == 0 and against["value"] == pytest.approx(distance, rel=1e-4)


def test_what_has_no_features_or_no_statistics_is_said(outputs, tmp_path):
    code, text = fid(outputs["plain"])
    assert code == 2 and "holds no features" in text and "weights-inception" in text
    np.savez(tmp_path / "short.npz", mu=np.zeros(3), sigma=np.eye(3))
    code, text = fid(outputs["a"], "--against", tmp_path / "short.npz")
    assert code == 2 and "are not of 6 features" in text
    (tmp_path / "no.npz").write_bytes(b"PK no archive")
    code, text = fid(outputs["a"], "--against", tmp_path / "no.npz")
    assert code == 2 and "expected .npz with arrays mu and sigma" in text
    code, text = fid(outputs["a"], "--against", tmp_path / "gone.npz")
    assert code == 2 and "gone.npz" in text and "Traceback" not in text


def test_failed_rows_have_no_features_and_jobs_without_a_network_none(outputs):
    rows = pq.read_table(f"{outputs['b']}/results").to_pylist()
    assert [len(row["fid_features"] or []) for row in rows] == [6, 6, 0]
    plain = pq.read_table(f"{outputs['plain']}/results")
    assert plain["fid_features"].null_count == plain["lpips_vgg"].null_count == len(plain)


@pytest.mark.parametrize(
    "perceptual, words",
    [
        ({"features": "tests.networks:nothing"}, r"perceptual.features.*\(B, D\)"),
        ({"features": "tests.networks:of_each_size"}, "the same D for all sizes"),
        ({"features": "no_such_module:make"}, "perceptual.features.*No module named"),
        ({"lpips_vgg": "/no/vgg.pth"}, "perceptual.lpips_vgg.*/no/vgg.pth.*vgg16-397923af"),
        ({"inception": "/no/i.pth"}, "perceptual.inception.*/no/i.pth.*weights-inception"),
        ({"inception": "i", "features": "a:b"}, "perceptual: .*give one"),
    ],
)
def test_a_network_that_cannot_be_had_is_said_before_any_work(
    outputs, tiny_model, tmp_path, perceptual, words
):
    folder = Path(outputs["a"]).parent
    with pytest.raises(PipelineError, match=words):
        spec = job_of(folder, "a", tiny_model, output=f"{tmp_path}/out", perceptual=perceptual)
        check(spec, ["tests", "no_such_module"])
    assert not (tmp_path / "out").exists()


def test_of_many_features_a_random_choice_is_kept(monkeypatch):
    monkeypatch.setattr("jobs.fid.KEPT", 50)
    found = FeatureSet(0)
    values = np.arange(2000, dtype=np.float32)[:, None]
    for part in np.split(values, 40):
        found.add(part)
    kept = np.array(found.kept)[:, 0]
    assert len(set(kept)) == 50 < KEPT and found.statistics.count == 2000
    assert abs(kept.mean() - 1000) < 3 * 577 / 50**0.5
