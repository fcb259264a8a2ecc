"""File names from image ids: an id never decides a place outside the output."""

from __future__ import annotations

import hashlib
import re

# Separators, what Windows or a shell trips over, the escape itself, and control characters.
UNSAFE = re.compile(r'[\x00-\x1f\x7f%:*?"<>|\\\ud800-\udfff]')
MAX_BYTES = 200  # of one path segment; most file systems take 255
MAX_PATH_BYTES = 600  # of them all; an S3 key takes 1024, with the prefix


SUFFIXES = {"png": ".png", "webp": ".webp", "jpeg": ".jpg", "tiff": ".tif", "npy": ".npy"}


def image_path(image_id: str, suffix: str = ".png", unsafe: re.Pattern[str] = UNSAFE) -> str:
    """The relative path of an image's file; different ids have different paths.

    Slashes make folders; anything unsafe in a segment is percent-encoded, and a segment that is
    too long ends in a digest of itself. Where all of them are too long together, the id's digest
    stands for those after the first.

    Args:
        image_id: any text.
        suffix: of the file.
        unsafe: what of a segment is encoded; the percent sign must be among it.
    """
    *folders, name = image_id.split("/")
    # A folder must not have the name of a file: "a.png/b" beside "a".
    parts = [*(_segment(f, unsafe, suffix) for f in folders), _segment(name, unsafe) + suffix]
    if len(_utf8("/".join(parts))) > MAX_PATH_BYTES:
        parts[1:] = ["%-" + _digest(image_id) + suffix]
    return "/".join(parts)


def _segment(text: str, unsafe: re.Pattern[str], not_ending: str = "") -> str:
    safe = unsafe.sub(lambda c: "".join(f"%{b:02X}" for b in _utf8(c[0])), text)
    if not safe or safe in (".", ".."):
        safe = safe.replace(".", "%2E") or "%"
    if not_ending and safe.endswith(not_ending):
        safe = safe[: -len(not_ending)] + not_ending.replace(".", "%2E")
    if len(_utf8(safe)) > MAX_BYTES:
        safe = _utf8(safe)[: MAX_BYTES - 34].decode(errors="ignore") + "%-" + _digest(text)
    return safe


def _digest(text: str) -> str:
    return hashlib.sha256(_utf8(text)).hexdigest()[:32]


def _utf8(text: str) -> bytes:
    return text.encode("utf-8", "surrogatepass")
