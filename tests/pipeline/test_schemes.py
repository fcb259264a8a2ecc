"""What a manifest may make a job read (``allowed_schemes``), and a job never overwrite."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pyarrow as pa
import pytest

from manifests.manifest import Manifest
from manifests.sources.base import Batch
from pipeline.arrays import pack
from pipeline.errors import PipelineError
from pipeline.originals import check_originals
from pipeline.prepare import check
from pipeline.schema import HIDDEN, IMAGE_METADATA, INDEX, OUTCOME, SHARD
from pipeline.spec.fetch import Fetch
from pipeline.spec.job import JobSpec
from pipeline.spec.picture import PictureFile
from pipeline.steps.encode import Encode
from pipeline.steps.load import Load
from tests.pictures import photograph


def load(base: str, allowed: set[str], *images: str) -> list[tuple[str, str]]:
    """Error and error kind of rows with these images."""
    rows = [{"id": str(i), "image": image} for i, image in enumerate(images)]
    table = pa.table(
        {
            SHARD: pa.repeat(0, len(rows)),
            INDEX: pa.array(range(len(rows)), pa.int64()),
            "row": pa.array(rows),
            "error": pa.repeat("", len(rows)),
            "error_kind": pa.repeat("", len(rows)),
        }
    )
    load = Load(base, ("image",), frozenset(allowed), 2**20, fetch=Fetch(), decode_seconds=60)
    loaded = load(table)
    return list(zip(loaded["error"].to_pylist(), loaded["error_kind"].to_pylist(), strict=True))


def test_a_manifest_on_s3_cannot_name_local_files(tmp_path):
    photograph(16, 16).save(tmp_path / "secret.png")
    path = f"{tmp_path}/secret.png"
    names = [path, f"file://{path}", f"local://{path}", f"FILE://{path}"]
    for error, kind in load("s3://bucket/manifests", {"s3"}, *names):
        assert kind == "scheme_not_allowed" and "allowed_schemes (s3)" in error
    # Allowed in so many words, the same rows are read.
    assert load("s3://bucket/manifests", {"s3", "file"}, *names[:3]) == [("", "")] * 3


def test_uris_of_local_files_are_decoded_and_schemes_may_be_in_capitals(tmp_path):
    name = "a b%20 #é.png"
    photograph(16, 16).save(tmp_path / name)
    uri = (tmp_path / name).as_uri()
    assert "%20" in uri and "%2520" in uri
    names = [f"{tmp_path}/{name}", uri, uri.replace("file://", "file://localhost")]
    names += [uri.replace("file:", "FILE:"), f"local://{tmp_path}/{name}"]
    assert load(str(tmp_path), {"file"}, *names) == [("", "")] * len(names)


def test_a_local_manifest_cannot_name_other_storages_and_secrets_are_not_repeated(tmp_path):
    photograph(16, 16).save(tmp_path / "a.png")
    ours, theirs = load(
        str(tmp_path), {"file"}, "a.png", "https://me:pw@host/x.png?X-Amz-Signature=abc"
    )
    assert ours == ("", "")
    assert theirs[1] == "scheme_not_allowed" and "https://host/x.png" in theirs[0]
    assert not any(secret in theirs[0] for secret in ("pw", "abc", "me:"))
    chained = load(str(tmp_path), {"file"}, "simplecache::s3://bucket/x.png", "s3::file:///x")
    assert {kind for _, kind in chained} == {"not_found"}  # plain, odd names in the folder


def test_results_do_not_repeat_the_secrets_of_uris():
    rows = [
        {"id": "signed", "image": "https://me:pw@host/a.png?X-Amz-Signature=abc", "kernel": None},
        {"id": "plain", "image": "in/a b#1?.png", "kernel": "k.npy"},
    ]
    table = pa.table(
        {
            "row": pa.array(rows),
            "error": pa.repeat("it failed", 2),
            "error_kind": pa.repeat("failed", 2),
            "outcome": pa.array([{}, {}], pa.struct(OUTCOME)),
            "pixels": pack([None, None]),
            "uncertainty_pixels": pack([None, None]),
            "sample_pixels": pack([None, None]),
            "step_pixels": pack([None, None]),
            "step_names": pa.array([None, None], pa.list_(pa.string())),
            "alpha": pack([None, None]),
            "metadata": pa.nulls(2, IMAGE_METADATA),
            **{name: pa.repeat(0, 2) for name in HIDDEN},
        }
    )
    result = Encode(None, PictureFile())(table)
    assert result["image"].to_pylist() == ["https://host/a.png", "in/a b#1?.png"]
    assert result["kernel"].to_pylist() == [None, "k.npy"]


def test_a_job_none_of_whose_images_it_may_read_is_refused_before_any_work(tmp_path, tiny_model):
    rows = [{"id": str(i), "image": f"s3://bucket/{i}.png"} for i in range(3)]
    (tmp_path / "m.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    settings = {
        "manifest": str(tmp_path / "m.jsonl"),
        "output": str(tmp_path / "out"),
        "task": {"kind": "denoise", "noise_level": 0.1},
        "model": tiny_model,
    }
    with pytest.raises(PipelineError, match=r"allowed_schemes.*named by s3.*allows file"):
        check(JobSpec.model_validate(settings))
    check(JobSpec.model_validate({**settings, "allowed_schemes": ["s3"]}))
    check(JobSpec.model_validate({**settings, "allowed_schemes": ["s3a", "file"]}))


@pytest.fixture
def originals(tmp_path) -> Path:
    """Photographs in a folder, a link to it, and manifests that name them."""
    (tmp_path / "photos" / "sub").mkdir(parents=True)
    (tmp_path / "other").mkdir()
    (tmp_path / "link").symlink_to("photos")
    rows = [
        {"id": "a", "image": "photos/a.png", "mask": "other/sub/b.png"},
        {"id": "sub/b", "image": f"{tmp_path}/other/../photos/sub/b.jpg", "mask": None},
    ]
    (tmp_path / "m.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return tmp_path


@pytest.mark.parametrize(
    "images, format, named",
    [
        ("photos", "png", "'a' would overwrite .*/photos/a.png"),
        ("photos/", "jpeg", "'sub/b' would overwrite .*/photos/sub/b.jpg"),
        ("link", "png", "'a' would overwrite .*/link/a.png"),
        ("other", "png", "'sub/b' would overwrite .*/other/sub/b.png"),
        ("other/../photos", "png", "'a' would overwrite"),
        ("photos", "tiff", None),
        ("photos/sub", "png", None),
        (".", "png", None),
        ("photos-restored", "png", None),
    ],
)
def test_pictures_that_would_overwrite_the_manifests_files_are_refused(
    originals, tiny_model, images, format, named
):
    def job(place: str) -> JobSpec:
        return JobSpec.model_validate(
            {
                "manifest": str(originals / "m.jsonl"),
                "output": str(originals / "out"),
                "images": place,
                "picture": format,
                "task": {"kind": "inpaint"},
                "model": tiny_model,
            }
        )

    for scheme in ("", "file://"):
        spec = job(f"{scheme}{originals}/{images}")
        if named is None:
            check(spec)
            continue
        with pytest.raises(PipelineError, match=f"^images: the picture of {named}"):
            check(spec)


@dataclass
class Rows:
    """A source of rows that lie in no file."""

    table: pa.Table
    base: str
    name: str = "m"
    notes: list[str] = field(default_factory=list)
    files: list[str] = field(default_factory=list)
    holds_pictures: bool = False

    @property
    def schema(self) -> pa.Schema:
        return self.table.schema

    def batches(self) -> Iterator[Batch]:
        yield Batch(self.table)


def manifest_of(table: pa.Table, base: str) -> Manifest:
    return Manifest(Rows(table, base))


@pytest.mark.parametrize(
    "task, read",
    [
        ({"kind": "denoise", "noise_level": 0.1}, "the manifest names"),
        ({"kind": "inpaint", "mask": "data/m.png"}, r"the job reads \(task.mask\)"),
        ({"kind": "inpaint", "mask": "photos/link.png"}, r"the job reads \(task.mask\)"),
        (
            {"kind": "deblur", "kernel": "data/m.png", "noise_level": 0.1},
            r"the job reads \(task.kernel\)",
        ),
    ],
)
def test_what_links_lead_to_and_the_jobs_own_files_are_not_overwritten(
    tmp_path, monkeypatch, task, read
):
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "link.png").symlink_to(tmp_path / "data" / "m.png")
    (tmp_path / "photos" / "m.png").touch()
    name = "link" if task["kind"] == "denoise" else "m"
    images = ["no\0file/m.png", f"photos/{name}.png"]
    table = pa.table({"id": ["x/y", "m"], "image": images})
    monkeypatch.chdir(tmp_path)
    spec = JobSpec.model_validate(
        {"manifest": "m.csv", "output": "out", "images": "data", "task": task, "model": "data/p.pt"}
    )
    manifest = manifest_of(table, str(tmp_path))
    check_originals(spec, manifest)  # no such folder: nothing can be overwritten there
    (tmp_path / "data").mkdir()
    with pytest.raises(PipelineError, match=f"'m' would overwrite data/m.png, which {read}"):
        check_originals(spec, manifest)
    check_originals(spec.model_copy(update={"images": str(tmp_path / "out")}), manifest)


@pytest.mark.parametrize("images", ["s3://bucket/in", "s3a://bucket/in/"])
def test_pictures_that_would_overwrite_a_buckets_files_are_refused(images):
    spec = JobSpec.model_validate(
        {
            "manifest": "s3://bucket/lists/m.parquet",
            "output": "s3://bucket/out",
            "images": images,
            "task": {"kind": "denoise", "noise_level": 0.1},
        }
    )

    def bucket_manifest(image: str) -> Manifest:
        return manifest_of(pa.table({"id": ["a"], "image": [image]}), "s3://bucket/lists")

    with pytest.raises(PipelineError, match=r"'a' would overwrite s3a?://bucket/in/a\.png"):
        check_originals(spec, bucket_manifest("../in/a.png"))
    check_originals(spec, bucket_manifest("s3://other/in/a.png"))
