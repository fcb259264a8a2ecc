"""The job under attack: images good and broken under odd ids, a tiny model, small shards."""

from __future__ import annotations

import io
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import yaml

from diffpir.checkpoints.checkpoint import save_model
from manifests import storage
from manifests.build import write_manifest
from tests.pictures import photograph, save_broken
from tests.support import make_net

SIZES = [(32, 32), (48, 40), (40, 32), (37, 45)]
NAMES = ["astronaut", "chelsea", "coffee", "rocket"]
IDS = [
    "row {}", "a/b/{}", "per%20cent {}%", "ünïcödé {} 写真", "{} 'quoted' \"twice\"", "..{}",
    "{}\ttab, comma; #?&=", "🙂{}",
]  # fmt: skip
BROKEN_EVERY = 12  # rows


@dataclass(frozen=True)
class Workload:
    """A manifest and a model in storage.

    Attributes:
        root: folder or URI of all of it.
        folder: a local one, for job files.
        ids: of the manifest's rows.
        nfe: network evaluations for each image: how long the job takes.
        models: files of the model, and of one with other weights.
    """

    root: str
    folder: Path
    ids: tuple[str, ...]
    nfe: int
    models: tuple[bytes, bytes]

    def put_model(self, other: bool) -> None:
        """Put the model, or the other one, where the jobs read it."""
        storage.write_bytes(storage.join(self.root, "tiny.safetensors"), self.models[other])

    def job(self, name: str) -> tuple[Path, str]:
        """Write a job file whose output is a new one; returns both."""
        output = storage.join(self.root, name)
        content = {
            "manifest": storage.join(self.root, "manifest.parquet"),
            "output": output,
            "task": {
                "kind": "deblur",
                "kernel": {"gaussian": {"size": 9, "std": 1.5}},
                "noise_level": 0.05,
            },
            "model": storage.join(self.root, "tiny.safetensors"),
            "sampler": {"nfe": self.nfe},
            "seed": 7,
            "actors": 2,
            "precision": "fp32",
            "shard_rows": 3,
        }
        file = self.folder / f"{name}.yaml"
        file.write_text(yaml.safe_dump(content))
        return file, output


def make_workload(root: str, folder: Path, rows: int, nfe: int) -> Workload:
    """Put images, manifest and model below ``root``."""
    models = [save_model(make_net(seed=i), folder / f"{i}.safetensors") for i in range(2)]
    broken = list(save_broken(folder / "broken").values())
    records = []
    for i in range(rows):
        if i % BROKEN_EVERY == BROKEN_EVERY - 1:
            data = broken[i // BROKEN_EVERY % len(broken)].read_bytes()
        else:
            buffer = io.BytesIO()
            picture = photograph(*SIZES[i % len(SIZES)], NAMES[i // 4 % len(NAMES)])
            picture.rotate(90 * (i // 16)).save(buffer, "PNG")
            data = buffer.getvalue()
        name = f"in/image {i}.png"
        storage.write_bytes(storage.join(root, name), data)
        records.append({"id": IDS[i % len(IDS)].format(i), "image": name, "number": i})
    write_manifest(pa.Table.from_pylist(records), storage.join(root, "manifest.parquet"))
    contents = tuple(Path(model).read_bytes() for model in models)
    workload = Workload(root, folder, tuple(record["id"] for record in records), nfe, contents)
    workload.put_model(other=False)
    return workload
