"""Reading one member of a tar file, by one request."""

from __future__ import annotations

import tarfile

from manifests import storage
from manifests.embedded import Member
from manifests.errors import StorageError
from manifests.sources.tar_headers import BLOCK
from manifests.storage import UNRESTRICTED, FetchPolicy
from manifests.storage.words import too_large

NAME_BYTES = 100  # of a name that a header has room for


def read_member(
    member: Member, limit: int | None = None, policy: FetchPolicy = UNRESTRICTED
) -> bytes:
    """The bytes of a member.

    Args:
        member: whose file is an absolute path or URI.
        limit: refuse a member of more bytes.
        policy: of fetching it.

    Raises:
        StorageError: ``too_large``; ``changed``: another member lies there, or none; or as
            :func:`manifests.storage.read_bytes`.
    """
    if limit is not None and member.size > limit:
        raise too_large(str(member), member.size, limit)
    start = member.offset - BLOCK
    if start < 0:
        raise _changed(member)
    data = storage.read_range(member.file, start, BLOCK + member.size, policy)
    if len(data) != BLOCK + member.size or not _is_header_of(data[:BLOCK], member):
        raise _changed(member)
    return data[BLOCK:]


def _is_header_of(block: bytes, member: Member) -> bool:
    """Whether a header is that of the member, as far as it tells.

    A name that is long or not ASCII stands before the header, in records of its own. In the header
    programs write the name cut short, or with other characters, each in its own way.
    """
    try:
        header = tarfile.TarInfo.frombuf(block, "utf-8", "surrogateescape")
    except tarfile.HeaderError:
        return False
    if not header.isreg() or header.size != member.size:
        return False
    is_whole = member.name.isascii() and len(member.name) <= NAME_BYTES
    return not is_whole or header.name == member.name


def _changed(member: Member) -> StorageError:
    return StorageError(
        f"{storage.shown(member.file)}: the tar file has changed since the manifest was read: "
        f"member {member.name!r}, of {member.size} bytes, no longer begins at byte {member.offset}",
        "changed",
    )
