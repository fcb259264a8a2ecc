"""Is any evaluation picture, or a near-duplicate of one, among the training pictures?

    python benchmarks/leakage.py TRAIN --eval FOLDER [FOLDER ...] [--distance 64]

TRAIN and the FOLDERs hold pictures, in subfolders too. Two pictures are near-duplicates if their
perceptual hashes (pHash, 256 bits; imagehash, `pip install '.[benchmarks]'`) differ in at most
`--distance` bits, as they are or mirrored, or so do that of one and that of a window of the other,
which has half its sides or more. Each pair found is printed; the exit status is 1 if there are
any. Unlike pictures differ in 128 bits on average.
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass

import imagehash
import numpy as np
from PIL import Image, ImageOps

from manifests.build import build

SCALES = (
    1.0,
    0.93,
    0.86,
    0.8,
    0.74,
    0.69,
    0.64,
    0.59,
    0.54,
    0.5,
)  # of windows, in sides of the picture
STEP = 0.08  # between windows, at most; a hash bears being a few per cent beside
SIDE = 256  # a hash looks at 64 x 64 pixels, so no more than this of a picture matters


@dataclass(frozen=True)
class Hashes:
    """Of one picture: itself, mirrored, and its windows (the first of which is itself)."""

    name: str
    plain: np.ndarray  # (256,) bool
    mirrored: np.ndarray
    windows: np.ndarray  # (windows, 256) bool


def hashes_of(path: str) -> Hashes:
    try:
        with Image.open(path) as opened:
            picture = ImageOps.exif_transpose(opened).convert("L")
    except OSError as e:
        raise SystemExit(f"{path}: not a picture ({e})") from None
    picture.thumbnail((SIDE, SIDE))
    windows = np.array([bits(window) for window in windows_of(picture)])
    return Hashes(path, windows[0], bits(ImageOps.mirror(picture)), windows)


def bits(picture: Image.Image) -> np.ndarray:
    return imagehash.phash(picture, hash_size=16).hash.flatten()


def windows_of(picture: Image.Image) -> Iterator[Image.Image]:
    for scale in SCALES:
        places = np.linspace(0, 1 - scale, math.ceil((1 - scale) / STEP) + 1)
        for top in places:
            for left in places:
                box = left, top, left + scale, top + scale
                sides = (picture.width, picture.height) * 2
                yield picture.crop(
                    [round(part * side) for part, side in zip(box, sides, strict=True)]
                )


def apart(one: Hashes, other: Hashes) -> int:
    """The least number of bits in which a picture and the other, or a window of it, differ."""
    return min(
        (whole ^ windows).sum(axis=1).min()
        for a, b in ((one, other), (other, one))
        for whole, windows in ((a.plain, b.windows), (a.mirrored, b.windows))
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("train")
    parser.add_argument("--eval", nargs="+", required=True, dest="folders")
    parser.add_argument("--distance", type=int, default=64)
    options = parser.parse_args()
    with ProcessPoolExecutor() as pool:
        train, *sets = (
            list(pool.map(hashes_of, build(folder)["image"].to_pylist(), chunksize=16))
            for folder in (options.train, *options.folders)
        )
    total = 0
    for folder, pictures in zip(options.folders, sets, strict=True):
        distances = [(apart(a, b), a.name, b.name) for a in pictures for b in train]
        found = [pair for pair in sorted(distances) if pair[0] <= options.distance]
        total += len(found)
        for distance, name, other in found:
            print(f"{name} and {other}: {distance} bits differ")
        print(
            f"{folder}: {len(pictures)} pictures against {len(train)}: {len(found)} pairs "
            f"(the nearest differ in {min(distances)[0]} bits)",
            flush=True,
        )
    raise SystemExit(bool(total))


if __name__ == "__main__":
    main()
