"""Rows that kill the process that works on them, on a real Ray whose workers really die.

The deadly rows are known by a mark in their file; the workers carry a hook (a ``sitecustomize``
that they find on their ``PYTHONPATH``) that SIGKILLs the process which decodes, restores or
encodes them, as the kernel does with one that has eaten all memory.
"""

from __future__ import annotations

import json

import pyarrow.dataset as ds
import pytest

from pipeline.run import run_job
from pipeline.spec.job import JobSpec
from tests.local_ray import have_ray
from tests.pictures import photograph

HOOK = """
import importlib.abc, importlib.machinery, os, signal, sys


def die():
    os.kill(os.getpid(), signal.SIGKILL)


def arm(module):
    if module.__name__ == "pipeline.pictures.decode":
        decode = module.decode_picture
        def deadly(data, **options):
            if b"kills the decoder" in data:
                die()
            return decode(data, **options)
        module.decode_picture = deadly
    elif module.__name__ == "pipeline.restorer":
        restore = module.Restorer._restore
        def deadly(self, problems):
            if any(p.noise_level == 0.111 for p in problems):
                die()
            return restore(self, problems)
        module.Restorer._restore = deadly
    elif module.__name__ == "pipeline.steps":
        encode = module.encode_picture
        def deadly(pixels, *how):
            if pixels.shape[0] == 21:
                die()
            return encode(pixels, *how)
        module.encode_picture = deadly


class Finder(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path, target=None):
        if name not in ("pipeline.pictures.decode", "pipeline.restorer", "pipeline.steps"):
            return None
        sys.meta_path.remove(self)
        try:
            spec = importlib.util.find_spec(name)
        finally:
            sys.meta_path.insert(0, self)
        load = spec.loader.exec_module
        def exec_module(module):
            load(module)
            arm(module)
        spec.loader.exec_module = exec_module
        return spec


sys.meta_path.insert(0, Finder())
"""


@pytest.fixture(scope="module")
def armed_cluster(tmp_path_factory, ray_ends):
    """Ray whose workers die of the marked rows; this process itself has no such hook."""
    folder = tmp_path_factory.mktemp("hook")
    (folder / "sitecustomize.py").write_text(HOOK)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", str(folder))
        have_ray()
        yield


def test_a_row_that_kills_its_process_is_an_error_and_its_neighbours_are_restored(
    armed_cluster, tmp_path, tiny_model
):
    rows = []
    for i in range(4):
        photograph(24, 21 if i == 3 else 20, "chelsea").save(tmp_path / f"{i}.png")
        rows.append({"id": f"row {i}", "image": f"{i}.png"})
    with (tmp_path / "1.png").open("ab") as f:
        f.write(b"kills the decoder")
    rows[2]["noise_level"] = 0.111
    (tmp_path / "m.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    spec = JobSpec.model_validate(
        {
            "manifest": str(tmp_path / "m.jsonl"),
            "output": str(tmp_path / "out"),
            "task": {"kind": "denoise", "noise_level": 0.1},
            "model": tiny_model,
            "sampler": {"nfe": 2},
            "shard_rows": 4,
            "actors": 1,  # each takes seconds to start, and this one dies nine times
        }
    )
    summary = run_job(spec)
    table = ds.dataset(str(tmp_path / "out" / "results"), format="parquet").to_table()
    kinds = dict(zip(table["id"].to_pylist(), table["error_kind"].to_pylist(), strict=True))
    assert kinds == {f"row {i}": "crash" if i else "" for i in range(4)}
    assert summary.failures == {"crash": 3}
    for row in table.to_pylist():
        assert (row["restored"] is None) == (row["psnr"] is None and row["status"] == "error")
        assert row["status"] == "ok" or "died 3 times" in row["error"]
