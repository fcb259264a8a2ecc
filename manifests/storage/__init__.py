"""The one layer between the project and storage: local paths and any URI that fsspec knows.

A path without a scheme is local and taken literally, whatever characters it has. All failures are
:class:`StorageError`, in words; credentials in a URI are never repeated.

What is likely to pass (a server that is away or overloaded, a connection that breaks, a reply cut
short) is tried again, with growing pauses, for ``RETRY_SECONDS`` or ``$DIFFPIR_RETRY_SECONDS``
from the first failure on; a try under way by then is not cut off, which takes some 30 seconds
more, a large upload longer. What is missing, forbidden or misspelt fails at once, and so do local
disks. A :class:`FetchPolicy` sets other limits for a file, and guards against its URI.
"""

from __future__ import annotations

from fsspec import AbstractFileSystem

from manifests.secrets import shown
from manifests.storage.cache import cache_folder
from manifests.storage.listing import (
    exists,
    find_files,
    kind_of,
    list_names,
    mark_of,
    modified,
    size_of,
)
from manifests.storage.policy import UNRESTRICTED, FetchPolicy
from manifests.storage.reading import cached_local, download, read_bytes, read_range, read_tail
from manifests.storage.retries import RETRY_SECONDS, open_filesystem
from manifests.storage.words import in_words
from manifests.storage.writing import (
    check_writable,
    create_exclusive,
    remove,
    remove_partials,
    write_bytes,
)
from manifests.uris import (
    absolute,
    has_scheme,
    is_local,
    join,
    parent,
    resolve,
    scheme_of,
)

__all__ = [
    "RETRY_SECONDS",
    "UNRESTRICTED",
    "FetchPolicy",
    "absolute",
    "cache_folder",
    "cached_local",
    "check_writable",
    "create_exclusive",
    "download",
    "exists",
    "filesystem",
    "find_files",
    "has_scheme",
    "in_words",
    "is_local",
    "join",
    "kind_of",
    "list_names",
    "mark_of",
    "modified",
    "parent",
    "read_bytes",
    "read_range",
    "read_tail",
    "remove",
    "remove_partials",
    "resolve",
    "scheme_of",
    "shown",
    "size_of",
    "write_bytes",
]


def filesystem(uri: str) -> tuple[AbstractFileSystem, str]:
    """The file system of a path or URI, and the path in it, for libraries that want one.

    It has the retries of its own library, not those of this module.

    Raises:
        StorageError: an unknown scheme, or one whose package is not installed.
    """
    fs, path = open_filesystem(uri, lambda kind: {})
    fs.invalidate_cache()  # instances live on, and what they listed before may have changed
    return fs, path
