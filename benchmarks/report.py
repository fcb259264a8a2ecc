"""What the page of a run takes: seconds, memory, and bytes.

    python benchmarks/report.py --rows 10000 [--shard-rows 64] [--folder out/report]

Writes an output of so many rows as a job does, with a few photographs in turn, and its report.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from PIL import Image

from benchmarks.outputs import write_output

CODE = """
import resource, sys, time
from jobs.report.write import write_report
began = time.perf_counter()
written = write_report([sys.argv[1]], sys.argv[2], limit=200)
seconds = time.perf_counter() - began
used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
peak = max(one.ru_maxrss for one in used)
cpu = sum(one.ru_utime + one.ru_stime for one in used)
print(f"{written.rows} rows shown, page {written.bytes / 1e6:.1f} MB, {seconds:.1f} s "
      f"({cpu:.1f} s of CPU time), {peak / 1e6:.2f} GB at most in a process")
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=int, default=10_000)
    parser.add_argument("--shard-rows", type=int, default=64)
    parser.add_argument("--side", type=int, default=256, help="of the pictures, in pixels")
    parser.add_argument("--folder", type=Path, help="default: a temporary folder")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        folder = options.folder or Path(temporary)
        began = time.perf_counter()
        output = write_output(
            folder, options.rows, shard_rows=options.shard_rows, pictures=textures(options.side)
        )
        print(f"output of {options.rows} rows written in {time.perf_counter() - began:.0f} s")
        page = str(folder / "report.html")
        subprocess.run([sys.executable, "-c", CODE, output, page], check=True)


def textures(side: int) -> list[Image.Image]:
    """Pictures with something in them at every scale."""
    pictures = []
    for i in range(8):
        noise = Image.effect_noise((side, side), 60 + 10 * i)
        mandelbrot = Image.effect_mandelbrot((side, side), (-2 + i / 20, -1.2, 0.8, 1.2), 80)
        gradient = Image.radial_gradient("L").resize((side, side))
        pictures.append(Image.merge("RGB", (mandelbrot, gradient, noise)))
    return pictures


if __name__ == "__main__":
    main()
