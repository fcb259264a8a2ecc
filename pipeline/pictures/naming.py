"""File names from image ids: an id never decides a place outside the output."""

from __future__ import annotations

import hashlib
import re

# Separators, what Windows or a shell trips over, the escape itself, and control characters.
UNSAFE = re.compile(r'[\x00-\x1f\x7f%:*?"<>|\\\ud800-\udfff]')
MAX_BYTES = 200  # of one path segment; most file systems take 255


SUFFIXES = {"png": ".png", "webp": ".webp", "jpeg": ".jpg", "tiff": ".tif"}


def image_path(image_id: str, suffix: str = ".png") -> str:
    """The relative path of an image's file; different ids have different paths.

    Slashes make folders; anything unsafe in a segment is percent-encoded, and a segment that is
    too long ends in a digest of itself.
    """
    *folders, name = image_id.split("/")
    # A folder must not have the name of a file: "a.png/b" beside "a".
    return "/".join([*(_segment(f, suffix) for f in folders), _segment(name) + suffix])


def _segment(text: str, not_ending: str = "") -> str:
    safe = UNSAFE.sub(lambda c: "".join(f"%{b:02X}" for b in _utf8(c[0])), text)
    if not safe or safe in (".", ".."):
        safe = safe.replace(".", "%2E") or "%"
    if not_ending and safe.endswith(not_ending):
        safe = safe[: -len(not_ending)] + not_ending.replace(".", "%2E")
    if len(_utf8(safe)) > MAX_BYTES:
        digest = hashlib.sha256(_utf8(text)).hexdigest()[:32]
        safe = _utf8(safe)[: MAX_BYTES - 34].decode(errors="ignore") + "%-" + digest
    return safe


def _utf8(text: str) -> bytes:
    return text.encode("utf-8", "surrogatepass")
