"""Parquet files with pictures inside, as other libraries write them, read as manifests."""

from __future__ import annotations

import io
import subprocess
import sys

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from manifests import storage
from manifests.build import build
from manifests.check import check
from manifests.errors import ManifestError, StorageError
from manifests.files import read_cells, read_file
from manifests.manifest import Manifest
from manifests.read import has_rows, open_source, read_manifest
from manifests.scan import scan
from manifests.version import version_of
from tests.pictures import photograph
from tests.support import ROOT


def png(number: int, side: int = 8) -> bytes:
    buffer = io.BytesIO()
    photograph(side, side).rotate(number).save(buffer, "PNG")
    return buffer.getvalue()


def structs(values: list[bytes | None], paths: list[str | None] | None = None) -> pa.Array:
    """As Hugging Face `datasets` writes pictures."""
    paths = paths or [None] * len(values)
    kind = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
    pairs = zip(values, paths, strict=True)
    return pa.array([{"bytes": data, "path": path} for data, path in pairs], kind)


def files_of(uri: str, column: str = "image") -> list[bytes | None]:
    """What the rows of a manifest name, read as a job reads it."""
    table, base = read_manifest(uri), open_source(uri).base
    names = table[column].to_pylist()
    cells = read_cells(names, base)
    return [read_file(name, base, cells) for name in names]


@pytest.mark.parametrize("kind", [pa.binary(), pa.large_binary(), None])
def test_pictures_are_named_and_read_where_they_lie(tmp_path, kind):
    pictures = [png(i) for i in range(10)]
    column = structs(pictures) if kind is None else pa.array(pictures, kind)
    ids = [f"i{i}" for i in range(10)]
    table = pa.table({"id": ids, "image": column, "label": range(10)})
    pq.write_table(table, tmp_path / "d.parquet", row_group_size=4)
    uri = str(tmp_path / "d.parquet")
    read = read_manifest(uri)
    assert read["id"].to_pylist() == ids and read["label"].to_pylist() == list(range(10))
    assert files_of(uri) == pictures
    assert [batch.group for batch in open_source(uri).batches()] == [0, 1, 2]
    assert not list(check(uri))


def test_ids_are_made_of_files_and_rows_and_said(tmp_path):
    for part in ("a", "b"):
        (tmp_path / "d" / part).mkdir(parents=True)
        table = pa.table({"image": structs([png(i) for i in range(3)])})
        pq.write_table(table, tmp_path / "d" / part / "0.parquet", row_group_size=2)
    uri = str(tmp_path / "d")
    manifest = Manifest(open_source(uri))
    ids = [value for ids in manifest.column("id") for value in ids.to_pylist()]
    assert ids == [f"d/{part}/0/00000{i}" for part in "ab" for i in range(3)]
    assert any("no column 'id'" in note for note in manifest.notes)
    assert has_rows(uri)


def test_other_names_of_columns(tmp_path):
    columns = {"img": structs([png(0)]), "key": [7], "mask_png": pa.array([png(1)], pa.binary())}
    pq.write_table(pa.table(columns), tmp_path / "d.parquet")
    uri = str(tmp_path / "d.parquet")
    with pytest.raises(ManifestError, match=r"img, mask_png could be it: .*image: img"):
        open_source(uri)
    renamed = {"image": "img", "id": "key", "mask": "mask_png"}
    source = open_source(uri, renamed=renamed)
    row = next(source.batches()).rows.to_pylist()[0]
    assert row["id"] == 7 and row["image"].startswith("parquet://img/0/0/")
    assert row["mask"].startswith("parquet://mask_png/0/0/")
    with pytest.raises(ManifestError, match=r"columns\.image: there is no column 'imgs'; it has"):
        open_source(uri, renamed={"image": "imgs"})


def test_a_cell_may_name_a_file_or_nothing(tmp_path):
    (tmp_path / "outside.png").write_bytes(png(5))
    column = structs([png(0), None, None], [None, "outside.png", None])
    reference = structs([None, png(1), None])
    ids = ["a", "b", "c"]
    table = pa.table({"id": ids, "image": column, "reference": reference})
    pq.write_table(table, tmp_path / "d.parquet")
    uri = str(tmp_path / "d.parquet")
    assert files_of(uri) == [png(0), png(5), None]
    assert files_of(uri, "reference") == [None, png(1), None]
    assert [f.id for f in check(uri)] == ["c"]


def test_other_pictures_and_names_of_results_in_a_dataset(tmp_path):
    columns = {
        "id": ["a"], "image": structs([png(0)]), "depth": structs([png(1)]), "status": ["new"],
    }  # fmt: skip
    pq.write_table(pa.table(columns), tmp_path / "d.parquet")
    manifest = Manifest(open_source(str(tmp_path / "d.parquet")), {"status"})
    assert manifest.schema.names == ["id", "image", "source_status"]
    assert any("left out: depth" in note for note in manifest.notes)
    assert any("status to source_status" in note for note in manifest.notes)
    table = pa.table({"id": ["a"], "image": ["a.png"], "status": ["new"]})
    pq.write_table(table, tmp_path / "m.parquet")
    with pytest.raises(ManifestError, match="has the name of a column of the results"):
        Manifest(open_source(str(tmp_path / "m.parquet")), {"status"})


def test_files_of_several_libraries(tmp_path):
    pictures = [png(i) for i in range(5)]
    ids = [str(i) for i in range(5)]
    pd.DataFrame({"id": ids, "image": pictures}).to_parquet(tmp_path / "pandas.parquet")
    pl.DataFrame({"id": ids, "image": pictures}).write_parquet(tmp_path / "polars.parquet")
    pl.DataFrame({"id": ids, "image": pictures}).write_parquet(
        tmp_path / "small.parquet", row_group_size=2, compression="lz4", data_page_size=100
    )
    for name in ("pandas", "polars", "small"):
        assert files_of(str(tmp_path / f"{name}.parquet")) == pictures, name


def test_a_dataset_of_hugging_face(tmp_path, monkeypatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setenv("HF_HOME", str(tmp_path / "home"))
    import datasets

    pictures = [photograph(16, 12).rotate(i) for i in range(6)]
    features = datasets.Features(
        {"image": datasets.Image(), "label": datasets.ClassLabel(names=["x", "y"])}
    )
    made = datasets.Dataset.from_dict({"image": pictures, "label": [0, 1] * 3}, features=features)
    made.to_parquet(str(tmp_path / "train-00000-of-00001.parquet"), batch_size=2)
    uri = str(tmp_path / "train-00000-of-00001.parquet")
    assert read_manifest(uri)["label"].to_pylist() == [0, 1] * 3
    from PIL import Image

    for data, picture in zip(files_of(uri), pictures, strict=True):
        assert np.array_equal(np.asarray(Image.open(io.BytesIO(data))), np.asarray(picture))


def test_a_file_that_changed_or_went_is_its_rows_error(tmp_path):
    file = tmp_path / "d.parquet"
    pq.write_table(pa.table({"id": ["a"], "image": structs([png(0)])}), file)
    name = read_manifest(str(file))["image"][0].as_py()
    pq.write_table(pa.table({"id": ["a"], "image": structs([png(0, 16)])}), file)
    with pytest.raises(StorageError, match=r"had .* when the manifest was read") as e:
        read_file(name, str(tmp_path), read_cells([name], str(tmp_path)))
    assert e.value.kind == "changed"
    file.unlink()
    with pytest.raises(StorageError) as e:
        read_file(name, str(tmp_path), read_cells([name], str(tmp_path)))
    assert e.value.kind == "not_found"
    with pytest.raises(StorageError, match=r"no such row|cannot be read"):
        pq.write_table(pa.table({"id": ["a"], "image": structs([png(0)])}), file)
        other = name.replace("/0/0/", "/0/7/")
        read_file(other, str(tmp_path), read_cells([other], str(tmp_path)))


def test_a_manifest_of_it_can_lie_anywhere(tmp_path):
    (tmp_path / "d").mkdir()
    table = pa.table({"id": ["a", "b"], "image": structs([png(0), png(1)])})
    pq.write_table(table, tmp_path / "d" / "x.parquet")
    names = build(str(tmp_path / "d"))["image"].to_pylist()
    assert [read_file(n, "/nowhere", read_cells([n], "/nowhere")) for n in names] == [
        png(0),
        png(1),
    ]


@settings(max_examples=30, deadline=None)
@given(st.lists(st.integers(0, 19), max_size=30), st.integers(1, 20))
def test_pictures_are_the_same_in_whatever_order_they_are_read(tmp_path_factory, order, group):
    folder = tmp_path_factory.mktemp("order")
    pictures = [f"picture {i}".encode() for i in range(20)]
    table = pa.table({"id": [str(i) for i in range(20)], "image": pa.array(pictures)})
    pq.write_table(table, folder / "d.parquet", row_group_size=group)
    names = read_manifest(str(folder / "d.parquet"))["image"].to_pylist()
    for start in range(0, len(order), 4):
        wanted = [names[i] for i in order[start : start + 4]]
        cells = read_cells(wanted, str(folder))
        read = [read_file(name, str(folder), cells) for name in wanted]
        assert read == [pictures[i] for i in order[start : start + 4]]


def test_ids_that_stand_there_twice_are_named_with_their_rows(tmp_path):
    for part, ids in enumerate((["a", "b"], ["c", "b"])):
        table = pa.table({"id": ids, "image": structs([png(0), png(1)])})
        pq.write_table(table, tmp_path / f"{part}.parquet")
    with pytest.raises(ManifestError, match="id 'b' stands in rows 2 and 4"):
        scan(Manifest(open_source(str(tmp_path))))


MEMORY = """
import resource, sys
from manifests.files import read_cells, read_file
from manifests.read import read_manifest
path = sys.argv[1]
table = read_manifest(path)
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
base = path.rpartition("/")[0]
names = table["image"].to_pylist()
total = 0
for start in range(0, len(names), 8):
    some = names[start : start + 8]
    cells = read_cells(some, base)
    total += sum(len(read_file(name, base, cells)) for name in some)
print(total, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before >> 10)
"""


def test_a_row_group_larger_than_it_should_be_is_read_in_slices(tmp_path):
    """One row group of 300 MB, in far less memory."""
    noise = np.random.default_rng(0)
    pictures = [noise.bytes(1 << 20) for _ in range(300)]
    table = pa.table({"id": [str(i) for i in range(300)], "image": pa.array(pictures)})
    pq.write_table(table, tmp_path / "d.parquet", row_group_size=300, compression="none")
    done = subprocess.run(
        [sys.executable, "-c", MEMORY, tmp_path / "d.parquet"],
        cwd=ROOT, capture_output=True, text=True, check=True,
    )  # fmt: skip
    total, megabytes = map(int, done.stdout.split())
    assert total == 300 << 20 and megabytes < 120


def test_planning_fetches_no_pictures_from_s3(s3_prefix, monkeypatch):
    noise = np.random.default_rng(0)
    pictures = [noise.bytes(100_000) for _ in range(200)]
    table = pa.table(
        {
            "id": [str(i) for i in range(200)],
            "image": structs(pictures),
            "label": [i % 3 for i in range(200)],
        }
    )
    sink = io.BytesIO()
    pq.write_table(table, sink, row_group_size=20, write_statistics=["id", "label"])
    uri = f"{s3_prefix}/d.parquet"
    storage.write_bytes(uri, sink.getvalue())
    fetched: list[int] = []
    for name in ("read_range", "read_tail"):
        read = getattr(storage, name)

        def counted(*args, read=read, **kwargs):
            data = read(*args, **kwargs)
            fetched.append(len(data))
            return data

        monkeypatch.setattr(storage, name, counted)
    names = read_manifest(uri)["image"].to_pylist()
    assert sum(fetched) < 0.02 * len(sink.getvalue())
    fetched.clear()
    base = storage.parent(uri)
    cells = read_cells(names[40:48], base)  # a shard of eight at the start of the third group
    assert [read_file(name, base, cells) for name in names[40:48]] == pictures[40:48]
    assert sum(fetched) < 0.15 * len(sink.getvalue())


def test_a_version_is_of_the_files_their_names_and_how_they_are_read(tmp_path):
    file = tmp_path / "a.parquet"
    file.write_bytes(b"one")
    first = version_of([str(file)], {})
    assert first == version_of([str(file)], {})
    assert first != version_of([str(file)], {"image": "img"})
    other = file.rename(tmp_path / "b.parquet")
    assert first != version_of([str(other)], {})
    other.rename(file)
    file.write_bytes(b"two!")
    assert first != version_of([str(file)], {})
