"""What a PyTorch file may make its reader do, looked at before it is read.

``torch.load`` with ``weights_only`` runs no code of the file, but it takes whatever memory the
file asks for: a compressed member may inflate a thousandfold, and a pickle may ask for a
``bytearray`` of any size.
"""

from __future__ import annotations

import io
import mmap
import pickletools
import zipfile
from pathlib import Path
from typing import IO

from diffpir.errors import CheckpointError

PICKLES = 5  # that a file of the format before zip begins with
MAX_PICKLE_BYTES = 64 << 20  # a state dict takes some 200 bytes for each tensor
# What torch.load knows of Python itself, and a state dict needs none of: each may be asked for a
# value of any size.
COSTLY = {"bytearray", "complex", "encode", "set"}


def check_archive(path: Path) -> None:
    """Refuse a zip archive that is larger inside than outside; ``torch.save`` compresses nothing.

    Raises:
        CheckpointError: says what is too large.
        zipfile.BadZipFile: it is no zip archive.
    """
    size = path.stat().st_size
    with zipfile.ZipFile(path) as archive:
        members = archive.infolist()
        packed = [m.filename for m in members if m.compress_type != zipfile.ZIP_STORED]
        declared = sum(member.file_size for member in members)
        if packed or declared > size:
            what = f"{packed[0][:100]!r} is compressed" if packed else "its members overlap"
            raise CheckpointError(
                f"refused: {what}, and all would take {declared} bytes; the file has {size}. "
                "torch.save compresses nothing: load the file where you trust it and save it anew"
            )
        for member in members:
            if not member.filename.endswith(".pkl"):
                continue
            if member.file_size > MAX_PICKLE_BYTES:
                raise CheckpointError(
                    f"refused: {member.filename[:100]!r}, which lists its tensors, has "
                    f"{member.file_size} bytes; {MAX_PICKLE_BYTES} are allowed"
                )
            _check_pickle(io.BytesIO(archive.read(member)))


def check_pickles(path: Path) -> None:
    """As :func:`check_archive`, for a file of the format before zip: pickles, then numbers.

    Raises:
        CheckpointError: a pickle asks for what no state dict needs.
    """
    if not path.stat().st_size:
        return
    with path.open("rb") as f, mmap.mmap(f.fileno(), 0, access=mmap.ACCESS_READ) as content:
        for _ in range(PICKLES):
            if not _check_pickle(content):
                return


def _check_pickle(pickle: IO[bytes] | mmap.mmap) -> bool:
    """Whether it could be read to its end.

    Raises:
        CheckpointError: it asks for what no state dict needs.
    """
    try:
        for opcode, argument, place in pickletools.genops(pickle):  # type: ignore[arg-type]
            named = str(argument).split(" ")[-1] if opcode.name == "GLOBAL" else ""
            if named in COSTLY or opcode.name in ("STACK_GLOBAL", "INST"):
                raise CheckpointError(
                    f"refused: at byte {place} it asks for {named or 'a class by another way'}, "
                    "which a state dict of tensors has no use for"
                )
            if (place or 0) > MAX_PICKLE_BYTES:
                raise CheckpointError(
                    f"refused: what lists its tensors has over {MAX_PICKLE_BYTES} bytes"
                )
    except ValueError:  # not a pickle, or cut short: torch.load has the words
        return False
    return True
