"""Jobs on arrays of channels: TIFF and NumPy's files in, and out again."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow.dataset as ds
import pyarrow.parquet as pq
import pytest
import tifffile
from PIL import Image

from diffpir.checkpoints.checkpoint import save_model
from jobs.export.run import export
from jobs.export.settings import Settings
from jobs.sheet import write_sheet
from manifests.build import build, write_manifest
from pipeline.run import run_job
from pipeline.schema import holds_pictures
from pipeline.spec.job import JobSpec
from tests.pictures import photograph
from tests.support import TINY, make_net

pytestmark = pytest.mark.usefixtures("ray_cluster")

WHITE = {8: 255, 16: 4000, 32: 1200.5}
TYPES = {8: np.uint8, 16: np.uint16, 32: np.float32}


def stack(channels: int, bits: int, height: int = 40, width: int = 48) -> np.ndarray:
    """(C, H, W): photographs' greys, a different one in each channel."""
    grey = np.asarray(photograph(width + channels, height).convert("L"), np.float64) / 255
    planes = np.stack([grey[:, c : c + width] * (1 - 0.05 * c) for c in range(channels)])
    return (planes * WHITE[bits]).astype(TYPES[bits])


def restored(folder: Path, taken: int, **settings) -> tuple[Path, dict[str, dict]]:
    """The output of a job whose prior takes so many channels, and its results by id."""
    config = replace(TINY, in_channels=taken, out_channels=taken)
    model = save_model(make_net(config), folder.parent / "prior.safetensors")
    manifest, output = folder.parent / "m.parquet", folder.parent / "out"
    table = build(str(folder))
    named = [uri for pattern in ("*.npy", "*.tif") for uri in folder.glob(pattern)]
    if len(table) < len(named):  # of both kinds: by a list
        listed = folder.parent / "all.txt"
        listed.write_text("\n".join(map(str, named)))
        table = build(str(listed))
    write_manifest(table, str(manifest))
    run_job(
        JobSpec.model_validate(
            {
                "manifest": str(manifest),
                "output": str(output),
                "images": str(output / "images"),
                "task": {"kind": "denoise", "noise_level": 0.02},
                "model": str(model),
                "sampler": {"nfe": 2, "first_timestep": 50},
                "actors": 1,
                "shard_rows": 8,
                **settings,
            }
        )
    )
    rows = ds.dataset(str(output / "results"), format="parquet").to_table().to_pylist()
    return output, {row["id"]: row for row in rows}


def close(found: np.ndarray, original: np.ndarray, white: float) -> bool:
    """Of the same shape and type, changed by no more than a random network does at little noise."""
    assert found.shape == original.shape and found.dtype == original.dtype
    error = np.abs(found.astype(np.float64) - original).mean() / white
    return 0 < error < 0.1


def test_grey_frames_one_by_one_and_colours_by_their_channels(tmp_path):
    folder = tmp_path / "frames"
    folder.mkdir()
    frames = stack(4, 16)
    tifffile.imwrite(folder / "series.tif", frames, photometric="minisblack")
    tifffile.imwrite(folder / "frame.tif", frames[0])
    tifffile.imwrite(folder / "colours.tif", np.moveaxis(frames[:3], 0, 2), photometric="rgb")
    how = {"picture": {"format": "tiff", "bits": 16}, "range": (0, 4000)}
    output, rows = restored(folder, 1, channels="each", **how)
    assert {row["error"] for row in rows.values()} == {""}
    series = tifffile.imread(output / "images/series.tif")
    assert close(series, frames, 4000)
    with tifffile.TiffFile(output / "images/series.tif") as file:
        assert len(file.pages) == 4  # pages, as they were
    assert close(tifffile.imread(output / "images/frame.tif"), frames[0], 4000)
    colours = tifffile.imread(output / "images/colours.tif")
    assert close(colours, np.moveaxis(frames[:3], 0, 2), 4000)
    write_sheet([str(output)], str(tmp_path / "sheet.png"), limit=3, side=64)
    sheet = np.asarray(Image.open(tmp_path / "sheet.png"))
    assert (sheet < 100).mean() > 0.02  # not white alone


def test_two_channels_as_arrays_of_numpy(tmp_path):
    folder = tmp_path / "arrays"
    folder.mkdir()
    image = stack(2, 16)
    np.save(folder / "first.npy", image)
    np.save(folder / "last.npy", np.moveaxis(image, 0, 2))
    np.save(folder / "three.npy", stack(3, 16))
    np.save(folder / "float.npy", stack(2, 32) * 0 + 7e4)
    how = {"picture": {"format": "npy", "bits": 16}, "range": (0, 4000)}
    output, rows = restored(folder, 2, **how)
    assert close(np.load(output / "images/first.npy"), image, 4000)
    assert close(np.load(output / "images/last.npy"), np.moveaxis(image, 0, 2), 4000)
    three, wrong = rows["three"], rows["float"]
    assert three["error"] == "the image has 3 channels, and the prior takes 2"
    assert (three["error_kind"], wrong["error_kind"]) == ("wrong_format", "bad_pixels")
    assert "100% of them outside of the job's range, [0, 4000]" in wrong["error"]
    part = min((output / "results").glob("*.parquet"))
    assert not holds_pictures(pq.read_schema(part))
    export(str(output), str(tmp_path / "set"), Settings(with_measured=True))
    (file,) = (tmp_path / "set/data").glob("*.parquet")
    assert not holds_pictures(pq.read_schema(file))
    kept = {
        row["id"]: row["measured"]["path"]
        for row in pq.read_table(file).to_pylist()
        if row["measured"]
    }
    assert kept["first"] == "first.npy"


@pytest.mark.parametrize("channels, bits", [(4, 32), (7, 8)])
def test_bands_of_satellites(channels, bits, tmp_path):
    folder = tmp_path / "bands"
    folder.mkdir()
    image = stack(channels, bits)
    last = np.moveaxis(image, 0, 2)
    tifffile.imwrite(folder / "bands.tif", last, photometric="minisblack", planarconfig="contig")
    tifffile.imwrite(
        folder / "planes.tif", image, photometric="minisblack", planarconfig="separate"
    )
    np.save(folder / "array.npy", image)
    task = {"kind": "sr", "factor": 2, "noise_level": 0.02}
    how = {"picture": {"format": "tiff", "bits": bits}, "task": task}
    if bits == 32:
        how["range"] = (0, WHITE[bits])
    output, rows = restored(folder, channels, **how)
    assert {row["error"] for row in rows.values()} == {""}
    for name in ("bands", "planes"):
        found = tifffile.imread(output / f"images/{name}.tif")
        assert found.shape == (80, 96, channels) and found.dtype == TYPES[bits]
        assert close(found[::2, ::2], last, WHITE[bits])
        assert rows[name]["width"] == 96
    assert tifffile.imread(output / "images/array.tif").shape == (80, 96, channels)
