"""Broken files by the thousand through the decoders: ``python -m tests.soak --cases 2000``.

Files of every format that Pillow writes, ``.npy`` and ``.npz`` files and the corpus of hostile
files (where it is at hand) are mutated and decoded in a process of bounded memory and time. Each
must end as an array or a RowError; what does not is saved, and the exit status is 1.
"""

from __future__ import annotations

import argparse
import contextlib
import ctypes
import gc
import io
import math
import os
import pickle
import random
import resource
import select
import struct
import subprocess
import sys
import time
import zlib
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

ROOT = Path(__file__).parents[1]
MEMORY = 2 * 2**30  # of address space
SECONDS = 20  # per case
MAX_PIXELS = 2**22
READERS = ("image", "mask", "kernel")


@dataclass(frozen=True)
class Case:
    name: str
    reader: str  # one of READERS
    data: bytes


@dataclass(frozen=True)
class Outcome:
    """How a case ended.

    Attributes:
        status: ``array``, ``error`` (a RowError), ``exception``, ``death`` or ``hang``.
        kind: of the RowError, else a short word.
        text: the error's message, or the array's shape and type.
        seconds: of CPU time.
        peak: bytes that the process had resident at most during the case.
    """

    status: str
    kind: str
    text: str
    seconds: float = 0.0
    peak: int = 0

    @property
    def good(self) -> bool:
        return self.status in ("array", "error")


class Worker:
    """A process that decodes cases, one after the other; replaced by a fresh one when it dies."""

    def __init__(self, memory: int = MEMORY, seconds: int = SECONDS, max_pixels: int = MAX_PIXELS):
        self.limits = (memory, seconds, max_pixels)
        self.process: subprocess.Popen | None = None

    def __enter__(self) -> Worker:
        return self

    def __exit__(self, *_: object) -> None:
        self._stop()

    def decode(self, case: Case) -> Outcome:
        """The case's outcome; a death and a hang are outcomes too."""
        if self.process is None:
            self._start()
        request = pickle.dumps((case.reader, case.data))
        with contextlib.suppress(BrokenPipeError):  # it died: the answer's end says so
            self.process.stdin.write(struct.pack("<Q", len(request)) + request)
            self.process.stdin.flush()
        wall = 3 * self.limits[1]  # other processes may have the CPU
        if not select.select([self.process.stdout], [], [], wall)[0]:
            self._stop()
            return Outcome("hang", "hang", f"no answer within {wall} s", wall)
        try:
            return Outcome(*pickle.load(self.process.stdout))
        except EOFError:
            code = self.process.wait()
            self._stop()
            return Outcome("death", f"exit {code}", "the process died")

    def _start(self) -> None:
        command = [sys.executable, "-m", "tests.soak", "--worker", *map(str, self.limits)]
        self.process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,  # where the C libraries complain
            cwd=ROOT,
        )

    def _stop(self) -> None:
        if self.process is not None:
            self.process.kill()
            self.process.communicate()
            self.process = None


def serve(memory: int, seconds: int, max_pixels: int) -> None:
    """What a worker's process does."""
    from pipeline.pictures import decode

    resource.setrlimit(resource.RLIMIT_AS, (memory, memory))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    hard = resource.getrlimit(resource.RLIMIT_CPU)[1]
    answers = os.fdopen(os.dup(1), "wb")
    libc = ctypes.CDLL(None)
    os.dup2(2, 1)  # what a library prints is no answer
    while size := sys.stdin.buffer.read(8):
        reader, data = pickle.loads(sys.stdin.buffer.read(*struct.unpack("<Q", size)))
        # What the case before freed, the allocator may have kept; it is not this case's.
        gc.collect()
        libc.malloc_trim(0)
        start = time.process_time()
        resource.setrlimit(resource.RLIMIT_CPU, (math.ceil(start) + seconds, hard))
        with contextlib.suppress(OSError):
            Path("/proc/self/clear_refs").write_text("5")  # the peak starts anew
        answer = _decode(getattr(decode, f"decode_{reader}"), reader, data, max_pixels)
        answers.write(pickle.dumps((*answer, time.process_time() - start, _peak())))
        answers.flush()


def _decode(
    decode: Callable[..., np.ndarray], reader: str, data: bytes, max_pixels: int
) -> tuple[str, str, str]:
    from pipeline.errors import ERROR_KINDS, RowError

    try:
        array = decode(data, max_pixels=max_pixels)
    except RowError as e:
        text = str(e)
        if e.kind in ERROR_KINDS and text.isprintable() and 0 < len(text) < 500:
            return "error", e.kind, text
        return "exception", "bad RowError", f"{e.kind}: {text!r}"
    except BaseException as e:
        return "exception", type(e).__name__, repr(e)
    text = f"{array.shape} {array.dtype}"
    valid = array.shape[0] * array.shape[1] <= max_pixels and _valid(array, reader)
    return ("array", "", text) if valid else ("exception", "bad array", text)


def _valid(array: np.ndarray, reader: str) -> bool:
    if not array.size:
        return False
    if reader == "mask":
        return array.ndim == 2 and array.dtype == bool
    if reader == "kernel":
        return array.ndim == 2 and array.min() >= 0 and abs(array.sum() - 1) < 1e-6
    if array.dtype in (np.uint8, np.uint16) and array.shape[2:] in ((), (3,)):
        return True
    # Other channels and numbers, of a TIFF or a .npy.
    return array.ndim in (2, 3) and array.dtype.kind in "uif" and bool(np.isfinite(array).all())


def _peak() -> int:
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM"))


TIFF_MODES = {"jpeg": ("L", "RGB"), "group3": ("1",), "group4": ("1",)}


def seed_cases() -> list[Case]:
    """Whole files, and the hostile ones."""
    from tests.support import SHARED

    cases = [*_images(), *_arrays()]
    corpus = SHARED / "data" / "hostile"
    for path in sorted(corpus.rglob("*")) if corpus.exists() else []:
        if path.is_file() and path.suffix not in (".md", ".csv"):
            name = path.relative_to(corpus).as_posix()
            cases.append(Case(name, "image", path.read_bytes()))
    return cases


def _images() -> Iterator[Case]:
    """Every mode in every format, as far as Pillow writes it."""
    from PIL import Image

    from tests.pictures import photograph

    rgb = photograph()
    modes = {mode: rgb.convert(mode) for mode in ("1", "L", "LA", "P", "RGB", "RGBA", "CMYK")}
    modes["I;16"] = Image.fromarray(np.asarray(modes["L"]).astype(np.uint16) * 257)
    modes["F"] = Image.fromarray(np.asarray(modes["L"], np.float32) / 255)
    exif = Image.Exif()
    exif[0x0112], exif[0x010E] = 6, "a picture"
    further = [photograph(name=name) for name in ("coffee", "chelsea")]
    frames = {"save_all": True, "append_images": further}
    options: dict[str, list[dict]] = {
        "JPEG": [{}, {"progressive": True, "exif": exif, "icc_profile": bytes(3000)}],
        "PNG": [{}, {"exif": exif}, frames],
        "TIFF": [
            *({"compression": c} for c in ("raw", "tiff_lzw", "tiff_deflate", "packbits")),
            *({"compression": c} for c in ("jpeg", "group3", "group4", "zstd", "lzma")),
            {"big_tiff": True, "exif": exif},
            frames,
        ],
        "GIF": [{}, frames],
        "WEBP": [{}, {"lossless": True, "exif": exif}, frames],
        "AVIF": [{"speed": 10}, {"speed": 10, **frames}],
        "JPEG2000": [
            {},
            {"irreversible": True, "no_jp2": True},
            {"tile_size": (16, 16), "precinct_size": (16, 16), "num_resolutions": 2},
        ],
        "BMP": [{}],
        "TGA": [{}, {"compression": "tga_rle"}],
        "SGI": [{}, {"bpc": 2}],
        "DDS": [{}, {"pixel_format": "DXT1"}, {"pixel_format": "DXT5"}, {"pixel_format": "BC5"}],
        "MPO": [frames],
    }
    others = "PPM ICO PCX ICNS IM MSP QOI SPIDER XBM BLP DIB"
    options |= {name: [{}] for name in others.split()}
    Image.init()
    for name, choices in options.items():
        if name not in Image.SAVE:
            continue
        for i, choice in enumerate(choices):
            for mode, picture in modes.items():
                if mode not in TIFF_MODES.get(choice.get("compression"), modes):
                    continue
                buffer = io.BytesIO()
                # Not every format has every mode and option; the library to write it may lack.
                with contextlib.suppress(Exception):
                    picture.save(buffer, name, **choice)
                    yield Case(f"{name}-{i}-{mode}".replace(";", ""), "image", buffer.getvalue())
    yield from _deep_images()
    yield Case("plain.ppm", "image", b"P3 4 3 255\n" + b"1 22 133 " * 12)
    yield Case(
        "x.xpm", "image", b'/* XPM */\n"2 2 2 1",\n"a c #ff0000",\n"b c None",\n"ab",\n"ba"\n'
    )
    cards = [b"SIMPLE  = T", b"BITPIX  = 8", b"NAXIS   = 2", b"NAXIS1  = 9", b"NAXIS2  = 5", b"END"]
    yield Case("x.fits", "image", b"".join(c.ljust(80) for c in cards).ljust(2880) + bytes(2880))


def _deep_images() -> Iterator[Case]:
    """Colours of 16 bits, with profiles and metadata: the files that jobs write."""
    import imagecodecs
    from PIL import Image

    from pipeline.pictures.encode import encode_picture
    from pipeline.pictures.metadata import Metadata
    from pipeline.spec.picture import PictureFile
    from tests.pictures import photograph

    colours = np.asarray(photograph()).astype(np.uint16) * 257
    exif = Image.Exif()
    exif[0x010F] = "Maker"
    metadata = Metadata(exif.tobytes()[6:], (1.0, 2.0), True)
    for kind in ("png", "tiff"):
        for pixels in (colours, colours[..., 0]):
            for alpha in (None, colours[..., 1]):
                data = encode_picture(pixels, PictureFile(format=kind, bits=16), alpha, metadata)
                yield Case(f"deep-{pixels.ndim}-{alpha is not None}.{kind}", "image", data)
    profile = imagecodecs.cms_profile("adobergb")
    for kind in ("PNG", "JPEG", "TIFF", "WEBP"):
        buffer = io.BytesIO()
        photograph().save(buffer, kind, icc_profile=profile, exif=exif)
        yield Case(f"profile.{kind.lower()}", "image", buffer.getvalue())


def _arrays() -> Iterator[Case]:
    kernel = np.outer(np.hanning(9), np.hanning(7)) + 0.01
    for reader in ("mask", "kernel"):
        for dtype in ("u1", "<f4", ">f8", "<i2", "f2", "?", "c8", "U3", "<f8"):
            buffer = io.BytesIO()
            np.save(buffer, np.asfortranarray(kernel * 9).astype(dtype))
            yield Case(f"{reader}-{dtype.strip('<>?')}.npy", reader, buffer.getvalue())
        for save in (np.savez, np.savez_compressed):
            for members in ({"k": kernel}, {"k": kernel, "m": kernel > 0.5}):
                buffer = io.BytesIO()
                save(buffer, **members)
                yield Case(f"{reader}-{save.__name__}-{len(members)}", reader, buffer.getvalue())
        buffer = io.BytesIO()
        from tests.pictures import photograph

        photograph().save(buffer, "PNG")
        yield Case(f"{reader}.png", reader, buffer.getvalue())


NUMBERS = (0, 1, 2, 0x7F, 0x80, 0xFF, 0x7FFF, 0x8000, 0xFFFF, 0x10000, 0x7FFFFFFF, 0x80000000)
NUMBERS += (0xFFFFFFFF, 0xFFFFFFFE, 30000, 2**20)


def _place(rng: random.Random, data: bytearray) -> int:
    """Somewhere, more often where headers are."""
    limit = len(data) if rng.random() < 0.5 else min(len(data), 256)
    return rng.randrange(max(limit, 1))


def _flip_bits(rng: random.Random, data: bytearray, other: bytes) -> None:
    for _ in range(rng.choice((1, 1, 2, 8, 64))):
        data[_place(rng, data)] ^= 1 << rng.randrange(8)


def _overwrite(rng: random.Random, data: bytearray, other: bytes) -> None:
    start, length = _place(rng, data), rng.choice((1, 2, 4, 16, 200))
    fill = rng.choice((bytes(length), b"\xff" * length, rng.randbytes(length)))
    data[start : start + length] = fill[: len(data) - start]


def _truncate(rng: random.Random, data: bytearray, other: bytes) -> None:
    del data[_place(rng, data) :]


def _delete(rng: random.Random, data: bytearray, other: bytes) -> None:
    start = _place(rng, data)
    del data[start : start + rng.choice((1, 4, 12, 100, 5000))]


def _duplicate(rng: random.Random, data: bytearray, other: bytes) -> None:
    start, length = _place(rng, data), rng.choice((1, 4, 12, 100, 5000))
    times = rng.choice((1, 2, 50))
    data[start:start] = data[start : start + length] * times


def _number(rng: random.Random, data: bytearray, other: bytes) -> None:
    """A length, a size or an offset that is not true."""
    code = rng.choice(("<H", ">H", "<I", ">I", "<Q", ">Q"))
    number = rng.choice(NUMBERS) % (1 << 8 * struct.calcsize(code))
    if len(data) >= 8:
        struct.pack_into(code, data, min(_place(rng, data), len(data) - 8), number)


def _splice(rng: random.Random, data: bytearray, other: bytes) -> None:
    if other:
        data[_place(rng, data) :] = other[rng.randrange(len(other)) :]


MUTATIONS = (_flip_bits, _overwrite, _truncate, _delete, _duplicate, _number, _number, _splice)


def mutate(rng: random.Random, data: bytes, other: bytes) -> bytes:
    """The file, changed in one to four ways."""
    changed = bytearray(data)
    for _ in range(rng.choice((1, 1, 2, 4))):
        if changed:
            rng.choice(MUTATIONS)(rng, changed, other)
    if changed.startswith(b"\x89PNG") and rng.random() < 0.7:
        _mend_png(changed)
    return bytes(changed)


def _mend_png(data: bytearray) -> None:
    """Check sums that fit, so that what was changed is looked at."""
    place = 8
    while place + 12 <= len(data):
        (length,) = struct.unpack_from(">I", data, place)
        end = place + 8 + length
        if end + 4 > len(data):
            return
        struct.pack_into(">I", data, end, zlib.crc32(data[place + 4 : end]))
        place = end + 4


@dataclass
class Tally:
    """What a soak found."""

    outcomes: Counter = field(default_factory=Counter)
    bad: list[tuple[Case, Outcome]] = field(default_factory=list)
    slowest: tuple[float, str] = (0.0, "")
    largest: tuple[int, str] = (0, "")

    def add(self, case: Case, outcome: Outcome) -> None:
        self.outcomes[outcome.status, outcome.kind] += 1
        self.slowest = max(self.slowest, (outcome.seconds, case.name))
        self.largest = max(self.largest, (outcome.peak, case.name))
        if not outcome.good:
            self.bad.append((case, outcome))

    def lines(self) -> Iterator[str]:
        totals = Counter({s: 0 for s in ("array", "error", "exception", "death", "hang")})
        for (status, _), count in self.outcomes.items():
            totals[status] += count
        yield f"cases: {totals.total()}"
        for status, count in totals.items():
            yield f"{status}: {count}"
            for (name, kind), part in sorted(self.outcomes.items()):
                if name == status and kind:
                    yield f"    {kind}: {part}"
        yield f"slowest: {self.slowest[0]:.2f} s of CPU time, {self.slowest[1]}"
        yield f"largest: {self.largest[0] / 2**20:.0f} MB resident, {self.largest[1]}"


def cases_of(seeds: list[Case], count: int, seed: int) -> Iterator[Case]:
    """``count`` mutated files, the same for the same seed; the seeds' formats equally often."""
    rng = random.Random(seed)
    for i in range(count):
        case, other = seeds[i % len(seeds)], rng.choice(seeds)
        yield Case(f"{i}-{case.name}", case.reader, mutate(rng, case.data, other.data))


def soak(cases: Iterator[Case], end: float = math.inf) -> Tally:
    """Decode them all, or as many as until the ``time.monotonic()`` of ``end``."""
    tally = Tally()
    with Worker() as worker:
        for case in cases:
            if time.monotonic() > end:
                break
            tally.add(case, worker.decode(case))
    return tally


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--cases", type=int, default=2000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--minutes", type=float, default=math.inf, help="stop after so many")
    parser.add_argument("--keep", type=Path, default=Path("soak"), help="for the cases that fail")
    parser.add_argument("--worker", type=int, nargs=3, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.worker:
        serve(*given.worker)
        return 0
    end = time.monotonic() + 60 * given.minutes
    tally = soak(cases_of(seed_cases(), given.cases, given.seed), end)
    print(*tally.lines(), sep="\n")
    for case, outcome in tally.bad:
        given.keep.mkdir(parents=True, exist_ok=True)
        path = given.keep / case.name.replace("/", "_")
        path.write_bytes(case.data)
        print(f"{path} ({case.reader}): {outcome.status}, {outcome.kind}: {outcome.text}")
    return 1 if tally.bad else 0


if __name__ == "__main__":
    sys.exit(main())
