"""Paths and URIs as strings: nothing here touches storage.

A path without a scheme is local and taken literally, whatever characters it has; that of a
``file://`` URI is percent-decoded (RFC 8089). What names a picture in another file
(:mod:`manifests.embedded`) has the scheme of that file, and is relative where that file's name is.
"""

from __future__ import annotations

import os
import posixpath
import re
from urllib.parse import unquote

from yarl import URL

SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+://")
_SAME = {"s3a": "s3", "s3n": "s3", "gcs": "gs", "abfs": "az", "abfss": "az"}
_EMBEDDED = re.compile(r"(parquet|tar)://((?:(?!::).)*)::(.+)", re.S)


def has_scheme(uri: str) -> bool:
    return bool(SCHEME.match(uri))


def split_embedded(ref: str) -> tuple[str, str, str] | None:
    """Kind, place and file of what names a picture in another file; None for what does not."""
    found = _EMBEDDED.fullmatch(ref)
    return (found[1], found[2], found[3]) if found else None


def is_local(uri: str) -> bool:
    return not has_scheme(uri) or _scheme(uri) in ("file", "local")


def join(base: str, *parts: str) -> str:
    return "/".join([base.rstrip("/") if base != "/" else "", *parts])


def parent(uri: str) -> str:
    """The folder that a file lies in."""
    if _scheme(uri) in ("http", "https"):
        uri = re.split("[?#]", uri)[0]  # a signature may hold slashes
    return uri.rstrip("/").rpartition("/")[0] or "/"


def absolute(uri: str) -> str:
    """A local path made absolute; another URI as it is, but for trailing slashes."""
    return local_path(uri) if is_local(uri) else uri.rstrip("/")


def local_path(uri: str) -> str:
    """The absolute path that a local path or URI names."""
    if has_scheme(uri):
        scheme, path = _scheme(uri), uri.partition("://")[2]
        if path.startswith("localhost/"):
            path = path.removeprefix("localhost")
        uri = unquote(path) if scheme == "file" else path
    return os.path.abspath(uri)


def resolve(base: str, ref: str) -> str:
    """``ref`` itself if it is absolute or has a scheme, else below ``base``."""
    if parts := split_embedded(ref):
        kind, place, file = parts
        return f"{kind}://{place}::{resolve(base, file)}"
    if has_scheme(ref) or ref.startswith("/"):
        return ref
    joined = join(base, ref)
    if has_scheme(base) and not {".", ".."}.isdisjoint(ref.split("/")):
        # Only local file systems know what "." and ".." mean.
        scheme, _, path = joined.partition("://")
        return f"{scheme}://{posixpath.normpath(path)}"
    return joined


def scheme_of(uri: str) -> str:
    """The scheme, one name for each storage: ``file`` for local paths, ``s3``, ``gs``, ``az``."""
    if parts := split_embedded(uri):
        uri = parts[2]
    if is_local(uri):
        return "file"
    scheme = _scheme(uri)
    return _SAME.get(scheme, scheme)


def host_of(uri: str) -> str | None:
    """The host that a http or https URI names, in the spelling of name servers; None for others."""
    url = _url(uri)
    return plain_host(url.raw_host) if url and url.raw_host else None


def origin_of(uri: str) -> str | None:
    """Scheme, host and port of a http or https URI, as the start of one; None for others."""
    url = _url(uri)
    return str(url.origin()) if url and url.raw_host else None


def plain_host(name: str) -> str:
    """The one spelling of a host's name: in lower case, without a dot at its end, in ASCII."""
    name = name.lower().rstrip(".")
    if name.isascii():
        return name
    try:
        return URL.build(scheme="http", host=name).raw_host or name
    except ValueError:  # no name that a host can have
        return name


def _url(uri: str) -> URL | None:
    if parts := split_embedded(uri):
        uri = parts[2]
    if _scheme(uri) not in ("http", "https"):
        return None
    try:
        return URL(uri)
    except ValueError:
        return None


def _scheme(uri: str) -> str:
    return uri.partition("://")[0].lower()
