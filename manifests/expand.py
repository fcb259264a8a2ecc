"""The files that one text names: a file, a glob, braces, a folder with all below it."""

from __future__ import annotations

import re
from itertools import islice

from braceexpand import braceexpand

from manifests import storage
from manifests.errors import ManifestError
from manifests.limits import short

MOST_NAMES = 100_000  # that braces may give
_RANGE = re.compile(r"\{(-?\d+)\.\.(-?\d+)(?:\.\.-?\d+)?\}")
_GLOB = re.compile(r"[*?\[]")


def expand(uri: str, suffixes: tuple[str, ...]) -> list[str]:
    """Absolute paths or URIs of the files that a text names, each once.

    Args:
        uri: a file; a glob (``train-*.tar``); braces (``train-{000..127}.tar``), in their order;
            or a folder or bucket prefix, with all below it but for names that begin with ``.`` or
            ``_``, sorted. What exists under that very name is taken literally. Of web servers only
            files and braces.
        suffixes: lower case, of the files wanted in folders and among what a glob matches.

    Raises:
        ManifestError: nothing is found, or the braces are wrong.
        StorageError: the storage failed.
    """
    if not uri:
        raise ManifestError("the path is empty")
    literal = not _is_web(uri) and storage.exists(uri)
    names = [uri] if literal or "{" not in _path(uri) else _from_braces(uri)
    found: list[str] = []
    for name in names:
        found += _files(name, suffixes, is_one_of_many=len(names) > 1)
    if not found:
        raise ManifestError(
            f"{storage.shown(uri)}: no files found there that end in {', '.join(suffixes)}"
        )
    for file in found:
        if re.search("[\ud800-\udfff]", file):
            raise ManifestError(
                f"{short(storage.shown(file))}: the file's name is not UTF-8 text; rename the file"
            )
    return list(dict.fromkeys(found))


def root_of(uri: str) -> str:
    """The folder that names relative to what :func:`expand` found start from.

    That is the folder in which a file or folder lies, and of a glob or braces the deepest folder
    above all that they can name.

    Raises:
        StorageError: the storage does not tell whether there is a file of that very name.
    """
    path = storage.absolute(uri)
    special = re.search(r"\{" if _is_web(uri) else r"[*?\[{]", _path(path))
    if special and (_is_web(uri) or not storage.exists(uri)):
        path = path[: special.start()]
        return path.rpartition("/")[0] or "/"
    return storage.parent(path)


def relative(root: str, file: str) -> str:
    """The name of a file that starts from a folder: the file's own where it has no other.

    A name with a signature or another secret stays whole: only as a whole URI is it known for one.
    """
    name = file.removeprefix(f"{root.rstrip('/')}/")
    if storage.resolve(root, name) != file or not storage.shown(file).endswith(name):
        return file
    return name


def _is_web(uri: str) -> bool:
    return storage.scheme_of(uri) in ("http", "https")


def _path(uri: str) -> str:
    """Without a web server's query, in which no character is special."""
    return re.split("[?#]", uri)[0] if _is_web(uri) else uri


def _from_braces(uri: str) -> list[str]:
    path = _path(uri)
    query = uri[len(path) :]
    shown = storage.shown(uri)
    try:
        # Ranges first: the library makes all their numbers before it gives the first name.
        longest = max((abs(int(a) - int(b)) for a, b in _RANGE.findall(path)), default=0)
        fits = longest < MOST_NAMES
        names = list(islice(braceexpand(path), MOST_NAMES + 1)) if fits else []
    except (ValueError, RecursionError):  # the latter: of many braces in one another
        raise ManifestError(
            f"{shown}: the braces cannot be expanded; is each of them closed?"
        ) from None
    if not names or len(names) > MOST_NAMES:
        raise ManifestError(f"{shown}: the braces name more than {MOST_NAMES} files")
    return [name + query for name in names]


def _files(name: str, suffixes: tuple[str, ...], is_one_of_many: bool) -> list[str]:
    if _is_web(name):
        return [name]
    if is_one_of_many and name.lower().endswith(suffixes) and not _GLOB.search(name):
        return [storage.absolute(name)]  # where it is missing, reading it will say so
    kind = storage.kind_of(name)
    if kind == "directory":
        return _found(name, suffixes, glob=False)
    if kind is not None:
        return [storage.absolute(name)]
    if not _GLOB.search(name):
        storage.size_of(name)  # the storage says best what is wrong, with a bucket say
        raise ManifestError(f"no such file or folder: {storage.shown(name)}")
    return _found(name, suffixes, glob=True)


def _found(uri: str, suffixes: tuple[str, ...], glob: bool) -> list[str]:
    """The files below a folder, or that a glob matches."""
    fs, root = storage.filesystem(uri)
    paths = [path for path in storage.find_files(uri, glob) if path.lower().endswith(suffixes)]
    if not glob:
        start = len(root.rstrip("/"))
        paths = [path for path in paths if not _is_hidden(path[start:])]
    return sorted(paths if storage.is_local(uri) else map(fs.unstrip_protocol, paths))


def _is_hidden(path: str) -> bool:
    return any(part.startswith((".", "_")) for part in path.split("/"))
