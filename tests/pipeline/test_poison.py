"""Rows that kill the process that works on them, on a real Ray whose processes really die.

The deadly rows are known by a mark in their file; the workers, and their children that decode,
carry a hook (a ``sitecustomize`` that they find on their ``PYTHONPATH``) that SIGKILLs the process
which decodes, restores or encodes them, as the kernel does with one that has eaten all memory. The
hook also registers a decoder with Pillow that does not end, crashes or eats memory.
"""

from __future__ import annotations

import json

import pyarrow.dataset as ds
import pytest

from pipeline.run import run_job
from pipeline.spec.job import JobSpec
from tests.local_ray import have_ray
from tests.pictures import photograph

DECODE_SECONDS = 6
HOOK = """
import ctypes, functools, importlib.abc, importlib.machinery, os, signal, sys


def die():
    os.kill(os.getpid(), signal.SIGKILL)


def arm(module):
    if module.__name__ == "pipeline.pictures.decode":
        decode = module.decode_picture
        @functools.wraps(decode)
        def deadly(data, **options):
            if b"kills the decoder" in data:
                die()
            return decode(data, **options)
        module.decode_picture = deadly
        register()
    elif module.__name__ == "pipeline.restoring.restorer":
        restore = module.Restorer._restore
        def deadly(self, problems):
            if any(p.noise_level == 0.111 for p in problems):
                die()
            return restore(self, problems)
        module.Restorer._restore = deadly
    elif module.__name__ == "pipeline.steps.encode":
        encode = module.encode_picture
        def deadly(pixels, *how):
            if pixels.shape[0] == 21:
                die()
            return encode(pixels, *how)
        module.encode_picture = deadly
    elif module.__name__ == "pipeline.steps.load":
        load = module.Load.__call__
        def told(self, table):
            with open(LOG, "a") as f:
                f.write(f"{os.getpid()} {len(table)}\\n")
            return load(self, table)
        module.Load.__call__ = told


def register():
    from PIL import Image, ImageFile
    class Deadly(ImageFile.ImageFile):
        format = "DEADLY"
        def _open(self):
            self._size, self._mode = (8, 8), "L"
            self.tile = [ImageFile._Tile("deadly", (0, 0, 8, 8), 0, self.fp.read(10))]
    class Decoder(ImageFile.PyDecoder):
        def decode(self, buffer):
            how, eaten = self.args[0][7:], []
            if how == b"die":
                ctypes.string_at(1)
            while True:
                eaten += [bytearray(2**24)] if how == b"eat" else []
    Image.register_open("DEADLY", Deadly, lambda prefix: prefix.startswith(b"deadly "))
    Image.register_decoder("deadly", Decoder)


ARMED = (
    "pipeline.pictures.decode",
    "pipeline.restoring.restorer",
    "pipeline.steps.encode",
    "pipeline.steps.load",
)


class Finder(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path, target=None):
        if name not in ARMED:
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
    (folder / "sitecustomize.py").write_text(f"LOG = {str(folder / 'log')!r}\n{HOOK}")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", str(folder))
        have_ray()
        yield folder


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
            "actors": 1,  # each takes seconds to start, and this one dies six times
        }
    )
    summary = run_job(spec)
    table = ds.dataset(str(tmp_path / "out" / "results"), format="parquet").to_table()
    kinds = dict(zip(table["id"].to_pylist(), table["error_kind"].to_pylist(), strict=True))
    assert kinds == {f"row {i}": "crash" if i else "" for i in range(4)}
    assert summary.failures == {"crash": 3}
    for row in table.to_pylist():
        assert (row["restored"] is None) == (row["psnr"] is None and row["status"] == "error")
        if row["id"] == "row 1":  # its child process died, and no worker
            assert row["error"].startswith("image: the process that decoded the file died")
        else:
            assert row["status"] == "ok" or "died 3 times" in row["error"]


def test_a_file_that_ends_its_decoder_costs_its_own_row_and_no_worker(
    armed_cluster, tmp_path, tiny_model
):
    deadly = {
        "endless": (b"deadly run", "timeout", f"longer than {DECODE_SECONDS} s"),
        "crash": (b"deadly die", "crash", "SIGSEGV"),
        "greedy": (b"deadly eat", "out_of_memory", "memory"),
    }
    rows = []
    for name, (content, *_) in deadly.items():
        (tmp_path / name).write_bytes(content)
        photograph(24, 20).save(tmp_path / f"after {name}.png")
        rows += [{"id": i, "image": i} for i in (name, f"after {name}.png")]
    (tmp_path / "m.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    log = armed_cluster / "log"
    log.unlink(missing_ok=True)
    spec = JobSpec.model_validate(
        {
            "manifest": str(tmp_path / "m.jsonl"),
            "output": str(tmp_path / "out"),
            "task": {"kind": "denoise", "noise_level": 0.1},
            "model": tiny_model,
            "sampler": {"nfe": 2},
            "shard_rows": len(rows),
            "actors": 1,
            "max_pixels": 2**20,
            "decode_seconds": DECODE_SECONDS,
        }
    )
    summary = run_job(spec)
    assert summary.failures == {kind: 1 for _, kind, _ in deadly.values()}
    table = ds.dataset(str(tmp_path / "out" / "results"), format="parquet").to_table()
    for row in table.to_pylist():
        _, kind, words = deadly.get(row["id"], (b"", "", ""))
        assert row["error_kind"] == kind and words in row["error"], row
    # The shard was loaded once, so its worker lived; bisection did not begin.
    assert [line.split()[1] for line in log.read_text().splitlines()] == [str(len(rows))]
