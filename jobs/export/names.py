"""Names of exported pictures."""

from __future__ import annotations

import os
import re

from manifests.formats import image_suffixes
from manifests.uris import split_embedded
from pipeline.output.naming import UNSAFE, image_path

# WebDataset takes what follows a name's first dot for the kind of a member, and skips names that
# begin with two underscores. Hugging Face's loader passes over those too, and hidden files.
_UNSAFE = re.compile(rf"{UNSAFE.pattern}|\.|^__")

_SIGNATURES = {
    b"\x89PNG": ".png",
    b"\xff\xd8\xff": ".jpg",
    b"GIF8": ".gif",
    b"II*\0": ".tif",
    b"MM\0*": ".tif",
    b"BM": ".bmp",
    b"\x93NUMPY": ".npy",
}


def key_of(image_id: str) -> str:
    """The path of a row's files without their suffixes: no dots, and one for each id."""
    return image_path(image_id, "", _UNSAFE)


def suffix_of(data: bytes, name: str) -> str:
    """The suffix of a picture's file, by its first bytes, or else by its path or URI."""
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        return ".webp"
    for signature, suffix in _SIGNATURES.items():
        if data.startswith(signature):
            return suffix
    embedded = split_embedded(name)
    path = (embedded[1] if embedded else name).partition("?")[0]
    suffix = os.path.splitext(path)[1].lower()
    return suffix if suffix in image_suffixes() else ".img"
