"""Is any evaluation picture, or a near-duplicate of one, among the training pictures?

    python benchmarks/leakage.py TRAIN --eval FOLDER [FOLDER ...] [--distance 10]

TRAIN and the FOLDERs hold pictures, in subfolders too. Two pictures are near-duplicates if their
perceptual hashes (pHash, 64 bits; imagehash, `pip install '.[benchmarks]'`) differ in at most
`--distance` bits, as they are or mirrored, or if enough segments of them match by a crop-resistant
hash, which finds a picture of which the other is a part. Each pair found is printed; the exit
status is 1 if there are any. Unlike pictures differ in 32 bits on average.
"""

from __future__ import annotations

import argparse
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass

import imagehash
import numpy as np
from PIL import Image, ImageOps

from manifests.build import build

SEGMENTS = 3  # matching ones that make two pictures parts of one scene
SEGMENT_DISTANCE = 3.0  # bits of 64 in which matching segments may differ


@dataclass(frozen=True)
class Hashes:
    """Of one picture; the mirrored one's is compared with the other picture's plain hash."""

    name: str
    plain: np.ndarray  # (64,) bool
    mirrored: np.ndarray
    segments: np.ndarray  # (segments, 64) bool


def hashes_of(path: str) -> Hashes:
    try:
        with Image.open(path) as opened:
            picture = ImageOps.exif_transpose(opened).convert("RGB")
    except OSError as e:
        raise SystemExit(f"{path}: not a picture ({e})") from None
    plain, mirrored = (imagehash.phash(p) for p in (picture, ImageOps.mirror(picture)))
    parts = imagehash.crop_resistant_hash(picture, hash_func=imagehash.phash)
    segments = np.array([part.hash.flatten() for part in parts.segment_hashes])
    return Hashes(path, plain.hash.flatten(), mirrored.hash.flatten(), segments)


def near_duplicates(a: list[Hashes], b: list[Hashes], distance: int) -> list[tuple]:
    """(name in a, name in b, bits that differ, matching segments) of each pair found."""
    plain = np.array([h.plain for h in b])
    found = []
    for one in a:
        bits = np.minimum(
            (one.plain ^ plain).sum(axis=1),
            (one.mirrored ^ plain).sum(axis=1),
        )
        for other, differing in zip(b, bits, strict=True):
            apart = (one.segments[:, None] ^ other.segments[None]).sum(axis=2).min(axis=1)
            matching = int((apart <= SEGMENT_DISTANCE).sum())
            if differing <= distance or matching >= SEGMENTS:
                found.append((one.name, other.name, int(differing), matching))
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("train")
    parser.add_argument("--eval", nargs="+", required=True, dest="folders")
    parser.add_argument("--distance", type=int, default=10)
    options = parser.parse_args()
    with ProcessPoolExecutor() as pool:
        train, *sets = (
            list(pool.map(hashes_of, build(folder)["image"].to_pylist(), chunksize=16))
            for folder in (options.train, *options.folders)
        )
    total = 0
    for folder, pictures in zip(options.folders, sets, strict=True):
        found = near_duplicates(pictures, train, options.distance)
        total += len(found)
        for name, other, bits, matching in found:
            print(f"{name} and {other}: {bits} bits differ, {matching} segments match")
        print(f"{folder}: {len(pictures)} pictures against {len(train)}: {len(found)} pairs")
    raise SystemExit(bool(total))


if __name__ == "__main__":
    main()
