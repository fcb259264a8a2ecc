"""Class-conditional priors in jobs: labels of rows, and what is said of those that have none."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pyarrow.dataset as ds
import pyarrow.parquet as pq
import pytest
import torch

from diffpir import Schedule, restore
from diffpir.checkpoints.checkpoint import save_model
from diffpir.checkpoints.prior import load_prior
from diffpir.networks.unet import UNetConfig
from diffpir.operators import Denoise
from diffpir.randomness import image_seed, noise_stream
from jobs.models import describe_model
from jobs.specfile import JobFileError, make_job, make_model
from manifests.build import build, write_manifest
from manifests.check import check as check_manifest
from pipeline.arrays import pack, unpack
from pipeline.errors import PipelineError, RowError
from pipeline.prepare import check
from pipeline.restoring.labels import Labels
from pipeline.restoring.restorer import Restorer
from pipeline.run import run_job
from pipeline.schema import RESERVED
from pipeline.steps.table import INPUTS
from pipeline.tasks.assets import Assets
from tests.pictures import decoded, photograph
from tests.support import TINY, make_net, versions_of

NULL = 4


@pytest.fixture(scope="module")
def conditional(tmp_path_factory) -> str:
    """A tiny network with an embedding of five classes, random weights."""
    small = {"level_channels": (32,) * 4, "attention_levels": (), "num_classes": 5}
    net = make_net(UNetConfig(**{**vars(TINY), **small}))
    with torch.no_grad():
        net.label_emb.weight *= 20  # or nobody would see the class
    return str(save_model(net, tmp_path_factory.mktemp("prior") / "conditional.safetensors"))


def job(folder, model, **settings) -> dict:
    return {
        "manifest": str(folder / "m.parquet"),
        "output": str(folder / "out"),
        "task": {"kind": "denoise", "noise_level": 0.3},
        "sampler": {"nfe": 3, "lam": 1.0, "zeta": 1.0},
        "model": model,
        "actors": 1,
        "precision": "fp32",
        **settings,
    }


def write_rows(folder, **columns) -> None:
    ids = [f"row{i}" for i in range(len(next(iter(columns.values()))))]
    photograph(40, 32).save(folder / "a.png")
    rows = {"id": ids, "image": ["a.png"] * len(ids), **columns}
    pq.write_table(pa.table(rows), folder / "m.parquet")


def test_each_row_is_restored_as_its_class_and_wrong_labels_are_their_rows_errors(
    ray_cluster, tmp_path, conditional
):
    write_rows(tmp_path, label=[0, 3, None, 5, -1, 3])
    model = {"path": conditional, "null_label": NULL, "cfg": 1.5}
    spec = make_job(job(tmp_path, model, tile=256), "job")
    summary = run_job(spec)
    assert (summary.ok, summary.failures) == (4, {"bad_value": 2})
    table = ds.dataset(tmp_path / "out" / "results", format="parquet").to_table()
    rows = {row["id"]: row for row in table.to_pylist()}
    assert [rows[f"row{i}"]["label"] for i in range(6)] == [0, 3, None, 5, -1, 3]
    assert rows["row3"]["error"] == (
        "label: expected a whole number from 0 to 4, a class of this prior, got 5"
    )
    assert "got -1" in rows["row4"]["error"]
    prior = load_prior(conditional)
    y = torch.from_numpy(np.asarray(photograph(40, 32)).copy()).permute(2, 0, 1)[None] / 255
    found = []
    for name, label in (("row0", 0), ("row1", 3), ("row2", NULL), ("row5", 3)):
        direct = restore(
            prior.denoiser(label, null_label=NULL, cfg=1.5),
            Denoise(),
            y,
            schedule=Schedule.linear(),
            config=spec.sampler_config(spectral=False),
            noise_level=0.3,
            noise=noise_stream([image_seed(0, name, "sampler")], (3, 32, 40)),
        )
        expected = (direct[0].clamp(0, 1) * 255).round().permute(1, 2, 0).numpy()
        mine = decoded(rows[name]["restored"]["bytes"]).astype(float)
        assert np.abs(mine - expected).max() <= 1
        found.append(mine)
    # The class is seen: with the same noise, the other one gives another picture.
    other = restore(
        prior.denoiser(3, null_label=NULL, cfg=1.5),
        Denoise(),
        y,
        schedule=Schedule.linear(),
        config=spec.sampler_config(spectral=False),
        noise_level=0.3,
        noise=noise_stream([image_seed(0, "row0", "sampler")], (3, 32, 40)),
    )
    again = (other[0].clamp(0, 1) * 255).permute(1, 2, 0).numpy()
    assert np.abs(again - found[0]).mean() > 3


def test_samples_and_tiles_share_the_label_of_their_row(tmp_path, conditional):
    picture = np.asarray(photograph(264, 256))
    settings = {"samples": 2, "keep_samples": True, "tile": 256}
    found = []
    for model, labels in (({"path": conditional}, [0, 3]), ({"path": conditional, "label": 3}, [])):
        spec = make_job(job(tmp_path, model, sampler={"nfe": 2, "lam": 1.0}, **settings), "job")
        restorer = Restorer(spec, Assets(), conditional, versions_of(conditional), 2**17, threads=1)
        found.append(restored(restorer, picture, labels or [None, None]))
    assert np.abs(found[0][1].astype(int) - found[1][1]).max() <= 1
    assert np.abs(found[0][0].astype(int) - found[1][0]).max() > 5


def restored(restorer, picture, labels) -> list[np.ndarray]:
    """Samples of two rows of one picture, whose ids are the same."""
    rows = [{"id": "a", "image": "x", "label": label} for label in labels]
    table = pa.table(
        {
            "row": pa.array(rows),
            "error": pa.repeat("", 2),
            "error_kind": pa.repeat("", 2),
            **{name: pack([picture if name == "image" else None] * 2) for name in INPUTS},
        }
    )
    done = restorer(table)
    assert done["error"].to_pylist() == ["", ""]
    return unpack(done["sample_pixels"])


def test_what_a_label_may_be():
    labels = Labels(5, None)
    for value in (3, 3.0, "3", " 3 "):
        assert labels.of({"label": value}) == 3
    for value in ("cat", 2.5, True, "1e0", 10**30, float("inf"), "-1"):
        with pytest.raises(RowError, match="label: expected a whole number from 0 to 4"):
            labels.of({"label": value})
    for value in (None, float("nan"), ""):
        with pytest.raises(RowError, match="no label: neither the row nor the job's model gives"):
            labels.of({"label": value})
        assert Labels(5, 2).of({"label": value}) == 2
    assert Labels(0, None).of({"label": "cat"}) is None  # of somebody else's, for other reasons


def test_a_job_says_which_class_before_any_work(tmp_path, conditional, tiny_model):
    write_rows(tmp_path, kind=[1, 2])
    with pytest.raises(PipelineError, match=r"model\.label: this prior is class-conditional"):
        check(make_job(job(tmp_path, {"path": conditional}), "job"))
    for given in ({"label": 1}, {"null_label": NULL}):
        assert check(make_job(job(tmp_path, {"path": conditional, **given}), "job")).rows == 2
    check(make_job(job(tmp_path, {"path": conditional}, columns={"label": "kind"}), "job"))
    write_rows(tmp_path, label=[[1], [2]])  # lists: of somebody else's, for other reasons
    with pytest.raises(PipelineError, match="told neither by the job nor by a column label"):
        check(make_job(job(tmp_path, {"path": conditional}), "job"))
    assert check(make_job(job(tmp_path, tiny_model), "job")).rows == 2
    for given, words in (
        ({"label": 5}, "needs a label from 0 to 4, got 5"),
        ({"label": 1, "null_label": 7}, "needs a null_label from 0 to 4, got 7"),
    ):
        with pytest.raises(PipelineError, match=words):
            check(make_job(job(tmp_path, {"path": conditional, **given}), "job"))
    with pytest.raises(PipelineError, match="unconditional network takes no null_label"):
        check(make_job(job(tmp_path, {"path": tiny_model, "null_label": 0}), "job"))
    with pytest.raises(JobFileError, match=r"cfg: .* give the null_label"):
        make_job(job(tmp_path, {"path": conditional, "cfg": 2}), "job")
    asked = make_model(f"{{path: {conditional}}}")
    assert "of a blind denoiser's error, as class 0" in describe_model(asked)


def test_manifests_keep_labels_whatever_they_are(tmp_path):
    write_rows(tmp_path, label=["cat", "dog"])
    assert not list(check_manifest(str(tmp_path / "m.parquet"), reserved=RESERVED))
    table = build(str(tmp_path / "m.parquet"), print, RESERVED)
    write_manifest(table, str(tmp_path / "again.csv"))
    assert table["label"].to_pylist() == ["cat", "dog"]
    assert "dog" in (tmp_path / "again.csv").read_text()
