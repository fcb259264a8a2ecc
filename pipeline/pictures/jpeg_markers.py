"""What the marker segments of a JPEG file say (ITU-T T.81), before a library decodes its scans.

Files are refused here that libjpeg would decode, but whose coefficients are not what the JPEG task
needs; the segments of applications (EXIF, profiles, previews) are left out of what is handed on.
"""

from __future__ import annotations

import re
import struct
from dataclasses import dataclass, field

import numpy as np

from pipeline.errors import RowError

START, END = b"\xff\xd8", b"\xff\xd9"
SOI, EOI, SOS, DQT, COM = 0xD8, 0xD9, 0xDA, 0xDB, 0xFE
APP0, APP14 = 0xE0, 0xEE
APPLICATIONS = range(APP0, APP0 + 16)
# Fill bytes may precede a marker. Stuffed zeros, restart markers and TEM belong to the data.
MARKER = re.compile(rb"\xff+([^\x00\x01\xff\xd0-\xd7])", re.DOTALL)
SEQUENTIAL, PROGRESSIVE = {0xC0, 0xC1, 0xC9}, {0xC2, 0xCA}  # 0xC9, 0xCA: arithmetic coding
NO_DCT = {0xC3, 0xC7, 0xCB, 0xCF}
HIERARCHICAL = {0xC5, 0xC6, 0xCD, 0xCE}
ZIGZAG = np.array(
    sorted(np.ndindex(8, 8), key=lambda p: (sum(p), p[0] if sum(p) % 2 else p[1]))
).T  # row and column of each place in the file's order
UNKNOWN = 127  # how many of a coefficient's last bits are not known, before its first scan


@dataclass
class Component:
    """A component of the frame.

    Attributes:
        identifier: by which scans name it.
        sampling: its vertical and horizontal factor.
        slot: of its quantisation table.
        table: (8, 8) that its first scan finds in the slot; None before it.
        missing: (64,) number of last bits that no scan told, in zigzag order.
    """

    identifier: int
    sampling: tuple[int, int]
    slot: int
    table: np.ndarray | None = None
    missing: np.ndarray = field(default_factory=lambda: np.full(64, UNKNOWN))


@dataclass
class Structure:
    """A JPEG file without its coefficients.

    Attributes:
        size: height and width in pixels.
        components: Y or grey; Cb; Cr.
        stripped: a file of the same picture without segments of applications, comments, and
            whatever follows the picture.
    """

    size: tuple[int, int]
    components: list[Component]
    stripped: bytes

    def blocks(self, component: Component) -> tuple[int, int]:
        """Rows and columns of blocks that the component needs to cover the picture."""
        most = np.max([c.sampling for c in self.components], axis=0)
        rows, columns = (
            -(-length * factor // (8 * int(whole)))
            for length, factor, whole in zip(self.size, component.sampling, most, strict=True)
        )
        return rows, columns


def read_structure(data: bytes) -> Structure:
    """The structure of a file that begins with ``START``.

    Raises:
        RowError: ``wrong_format`` for kinds of JPEG that are not supported; ``damaged``.
    """
    walk = _Walk()
    parts: list[bytes | memoryview] = [START]
    view, found = memoryview(data), MARKER.search(data, len(START))
    while found:
        code, start = found[1][0], found.end()
        if code == EOI:
            break
        (length,) = struct.unpack(">H", data[start : start + 2].ljust(2, b"\0"))
        end = start + length
        if code == SOI:
            raise _damaged("has a second start before its picture ends")
        if max(end, start + 2) > len(data):
            raise _damaged(f"ends within its segment FF{code:02X}")
        if length < 2:
            raise _damaged(f"has a broken segment FF{code:02X}")
        walk.segment(code, data[start + 2 : end])
        following = MARKER.search(data, end)
        if code == SOS:  # the coded data follow the segment
            end = following.start() if following else len(data)
        if code not in APPLICATIONS and code != COM:
            parts.append(view[start - 2 : end])
        if code == SOS and walk.complete and not walk.progressive:
            break
        found = following
    walk.check()
    return Structure(walk.size, walk.components, b"".join([*parts, END]))


def _damaged(text: str) -> RowError:
    return RowError(f"the JPEG file {text}", "damaged")


def _unsupported(text: str) -> RowError:
    return RowError(f"the JPEG file {text}", "wrong_format")


class _Walk:
    """What the segments have said so far."""

    def __init__(self) -> None:
        self.size = (0, 0)
        self.components: list[Component] = []
        self.progressive = False
        self._slots: dict[int, np.ndarray] = {}
        self._jfif = False
        self._adobe: int | None = None  # the colour transform that an Adobe segment names

    @property
    def complete(self) -> bool:
        """Whether the scans have told every coefficient to its last bit."""
        return bool(self.components) and not any(c.missing.any() for c in self.components)

    def segment(self, code: int, content: bytes) -> None:
        """Take in the next segment; raises RowError as :func:`read_structure`."""
        if code == DQT:
            self._tables(content)
        elif code == SOS:
            self._scan(content)
        elif code == APP0 and content.startswith(b"JFIF\0"):
            self._jfif = True
        elif code == APP14 and content.startswith(b"Adobe") and len(content) >= 12:
            self._adobe = content[11]
        elif code in SEQUENTIAL | PROGRESSIVE:
            self._frame(content)
            self.progressive = code in PROGRESSIVE
        elif code in NO_DCT:
            raise _unsupported("is compressed without loss: it has no quantised coefficients")
        elif code in HIERARCHICAL:
            raise _unsupported("is of the hierarchical kind, which is not supported")

    def check(self) -> None:
        """Raise RowError if the file ended too early, or its colours are not supported."""
        if not self.components:
            raise _damaged("has no frame header")
        if not self.complete:
            raise _damaged("ends before the last scan of its picture")
        if len(self.components) == 3 and self._is_rgb():
            raise _unsupported("stores RGB; expected grey or YCbCr")

    def _is_rgb(self) -> bool:
        """As libjpeg decides it."""
        if self._jfif:
            return False
        if self._adobe is not None:
            return self._adobe == 0
        return bytes(c.identifier for c in self.components) == b"RGB"

    def _tables(self, content: bytes) -> None:
        while content:
            wide, slot = content[0] >> 4, content[0] & 15
            size = 1 + 64 * (1 + wide)
            if wide > 1 or slot > 3 or len(content) < size:
                raise _damaged("has a broken quantisation table")
            values = np.frombuffer(content[1:size], ">u2" if wide else "u1")
            if not values.all():
                raise _damaged("has a quantisation table with a zero")
            self._slots[slot] = table = np.empty((8, 8), np.int32)
            table[*ZIGZAG] = values
            content = content[size:]

    def _frame(self, content: bytes) -> None:
        if self.components:
            raise _damaged("has two frame headers")
        if len(content) < 6 or len(content) != 6 + 3 * content[5]:
            raise _damaged("has a broken frame header")
        bits, height, width, count = struct.unpack(">BHHB", content[:6])
        if bits != 8:
            raise _unsupported(f"has {bits} bits per sample; expected 8")
        if count not in (1, 3):
            names = {2: "two components", 4: "four components (CMYK or YCCK)"}
            text = names.get(count, f"{count} components")
            raise _unsupported(f"has {text}; expected grey or YCbCr")
        if not height or not width:  # a height can follow the first scan, but never does
            raise _damaged(f"says that it has {width} x {height} pixels")
        for i in range(6, len(content), 3):
            identifier, both, slot = content[i : i + 3]
            self.components.append(Component(identifier, (both & 15, both >> 4), slot))
        factors = np.array([c.sampling for c in self.components])
        if factors.min() < 1 or factors.max() > 4:
            raise _damaged("has sampling factors outside 1 ... 4")
        if len({c.identifier for c in self.components}) < count:
            raise _damaged("has two components of the same identifier")
        if (factors.max(axis=0) % factors).any():
            raise _unsupported("has components whose sampling is no whole fraction of the finest")
        self.size = height, width

    def _scan(self, content: bytes) -> None:
        count = content[0] if content else 0
        if not self.components or len(content) != 4 + 2 * count:
            raise _damaged("has a broken scan header")
        first, last, bits = content[-3:]
        named = {c.identifier: c for c in self.components}
        for identifier in content[1:-3:2]:
            component = named.get(identifier)
            if component is None:
                raise _damaged("has a scan of a component that its frame header does not name")
            if component.table is None:
                component.table = self._slots.get(component.slot)
            if component.table is None:
                raise _damaged("lacks a quantisation table")
            if self.progressive:
                component.missing[first : last + 1] = bits & 15
            else:
                component.missing[:] = 0
