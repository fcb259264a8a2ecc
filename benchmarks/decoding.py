"""What it costs to decode files in a child process.

    python benchmarks/decoding.py [--rounds 60] [--json FILE]

The same files are decoded in this process and in its child, in turns. A core's files per second
are counted by the CPU time of both processes. Figures are medians over the rounds.
"""

from __future__ import annotations

import io
import statistics
import time
from collections.abc import Callable

import numpy as np
from PIL import Image
from skimage import data
from timing import parser, write

from pipeline.fence import decoders
from pipeline.pictures import decode

MEGAPIXELS_24 = (4000, 6000)


def main() -> None:
    options = parser(__doc__)
    options.add_argument("--rounds", type=int, default=60)
    given = options.parse_args()
    figures = {}
    print("| file | in process, files/s/core | in a child | ratio | ms of wall time | in a child |")
    print("|---|---|---|---|---|---|")
    for name, (content, count, share) in files().items():
        here, there = measure(content, count, max(3, int(given.rounds * share)))
        figures[name] = {"bytes": len(content), "in process": here, "in a child": there}
        cells = [1 / here["cpu"], 1 / there["cpu"], there["cpu"] / here["cpu"]]
        cells += [1e3 * here["wall"], 1e3 * there["wall"]]
        print(f"| {name} |", " | ".join(f"{cell:.3g}" for cell in cells), "|")
    write(given.json, figures)


def files() -> dict[str, tuple[bytes, int, float]]:
    """Files by name, how many times a round decodes them, and the share of the rounds."""
    astronaut = data.astronaut()
    small = Image.fromarray(np.ascontiguousarray(astronaut[:256, 128:384]))
    height, width = MEGAPIXELS_24
    tiled = np.tile(astronaut, (-(-height // 512), -(-width // 512), 1))[:height, :width]
    return {
        "256 x 256 JPEG": (_saved(small, "JPEG", quality=90), 50, 1),
        "256 x 256 PNG": (_saved(small, "PNG"), 20, 1),
        "24 megapixels JPEG": (_saved(Image.fromarray(tiled), "JPEG", quality=90), 1, 0.2),
    }


def _saved(picture: Image.Image, kind: str, **options: object) -> bytes:
    buffer = io.BytesIO()
    picture.save(buffer, kind, **options)
    return buffer.getvalue()


def measure(content: bytes, count: int, rounds: int) -> tuple[dict, dict]:
    """Seconds of CPU and wall time of one file: in this process, and by way of the child."""
    ways: tuple[Callable, Callable] = (decode.decode_picture, decoders.decode_picture)
    found: tuple[list, list] = ([], [])
    for way in ways:  # the child starts, libraries are loaded
        way(content)
    for _ in range(rounds):
        for way, times in zip(ways, found, strict=True):
            cpu, wall = _cpu(), time.perf_counter()
            for _ in range(count):
                way(content)
            times.append(((_cpu() - cpu) / count, (time.perf_counter() - wall) / count))
    medians = [
        [statistics.median(column) for column in zip(*times, strict=True)] for times in found
    ]
    here, there = (dict(zip(("cpu", "wall"), pair, strict=True)) for pair in medians)
    return here, there


def _cpu() -> float:
    """Seconds of CPU time of this process and its child."""
    child = decoders._fence._process.pid
    clock = (~child << 3) | 2  # Linux's number for the CPU clock of a process
    return time.process_time() + time.clock_gettime(clock)


if __name__ == "__main__":
    main()
