"""Datasets of the Hugging Face Hub, read by its own library from a server on this machine."""

from __future__ import annotations

import subprocess
import sys

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from fsspec.registry import _registry

from manifests.errors import StorageError
from manifests.read import open_source
from tests.hub import REPOSITORY, hub
from tests.support import ROOT

# In a process of its own: the library reads the endpoint when it is imported.
READ = """
import sys
from manifests.files import read_cells, read_file
from manifests.read import open_source, read_manifest
from manifests.version import version_of
uri = sys.argv[1]
source = open_source(uri)
names = read_manifest(uri)["image"].to_pylist()
cells = read_cells(names, source.base)
print([read_file(name, source.base, cells).decode() for name in names])
print(version_of(source.files, {}) is not None)
"""


@pytest.mark.parametrize("place", ["data", "data/*.parquet", "data/train-{0..1}.parquet"])
def test_a_dataset_of_the_hub(tmp_path, monkeypatch, place):
    (tmp_path / "files" / "data").mkdir(parents=True)
    for part in range(2):
        pictures = pa.array([f"picture {part}{i}".encode() for i in range(3)])
        table = pa.table({"id": [f"{part}{i}" for i in range(3)], "image": pictures})
        pq.write_table(table, tmp_path / "files" / "data" / f"train-{part}.parquet")
    with hub(tmp_path / "files") as endpoint:
        monkeypatch.setenv("HF_ENDPOINT", endpoint)
        monkeypatch.setenv("HF_HOME", str(tmp_path / "home"))
        uri = f"hf://datasets/{REPOSITORY}/{place}"
        command = [sys.executable, "-W", "ignore", "-c", READ, uri]
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    pictures = [f"picture {part}{i}" for part in range(2) for i in range(3)]
    assert done.stdout.splitlines() == [str(pictures), "True"]


@pytest.mark.parametrize("uri, extra", [("gs://b/x.parquet", "gs"), ("az://b/x.parquet", "az")])
def test_a_storage_whose_package_is_missing_says_what_to_install(uri, extra, monkeypatch):
    monkeypatch.setitem(sys.modules, {"gs": "gcsfs", "az": "adlfs"}[extra], None)
    monkeypatch.delitem(_registry, extra, raising=False)
    with pytest.raises(StorageError, match=rf"pip install 'diffpir-on-ray\[{extra}\]'"):
        open_source(uri)
