"""Making a manifest from images: a folder, a glob, a bucket prefix, a list of paths."""

from __future__ import annotations

import json
import os.path
import re
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import takewhile

import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq
from fsspec import AbstractFileSystem
from PIL import ExifTags, Image

from manifests import storage
from manifests.array_files import SUFFIX, image_size, npy_header
from manifests.errors import ManifestError
from manifests.expand import root_of
from manifests.formats import decodable_formats, image_suffixes
from manifests.read import holds_rows, read_manifest
from manifests.schema import FILES, is_parametric, with_columns

THREADS = 16  # headers are read one by one, and waiting for storage is most of it
HEADER_BYTES = 1 << 16  # fetched at a time: most headers lie within
SCHEMA = pa.schema(
    [
        ("id", pa.string()),
        ("image", pa.string()),
        ("width", pa.int64()),
        ("height", pa.int64()),
        ("bytes", pa.int64()),
    ]
)


def build(
    source: str | Sequence[str],
    on_left_out: Callable[[list[str]], None] = lambda _: None,
    reserved: Collection[str] = (),
) -> pa.Table:
    """A manifest of all images of a source, sorted, with the columns of ``SCHEMA``.

    The source is the user's own word: files are read from wherever it says, private addresses
    included.

    Args:
        source: a folder or bucket prefix (searched with all below it; hidden files are not
            taken, and arrays, ``.npy``, only where there are no pictures; links to folders are
            followed, but no folder is taken twice), a glob, a list
            (``.txt``: a path or URI per line, relative to the list; ``#`` starts a comment), one
            image, or Parquet or tar files that hold pictures (:func:`manifests.read.open_source`),
            whose columns then are the manifest's. Or several of these, but for Parquet and tar
            files.
        on_left_out: told the files, if there are any, whose names are not UTF-8 and so can stand
            in no manifest.
        reserved: names that columns of Parquet and tar files may not have; these are renamed.

    Returns:
        ``id`` is the path below the source without its suffix, unless two images differ in the
        suffix alone; of several sources, the path below the deepest folder that holds all images.
        ``width`` and ``height`` are as the picture is seen (EXIF orientation
        applied); null, like ``bytes``, where the file cannot be read. Such rows are kept: it is
        for the job to say what is wrong with them.

    Raises:
        ManifestError: no such source, no image in it, or a file that is none of the above.
    """
    sources = [source] if isinstance(source, str) else list(source)
    if len(sources) == 1 and holds_rows(sources[0]):
        return _of_containers(sources[0], reserved)
    names, images = _find_all(sources)
    left_out = [image for image in images if not _is_utf8(image)]
    if left_out:
        on_left_out(left_out)
        named = [pair for pair in zip(names, images, strict=True) if _is_utf8(pair[1])]
        names, images = [name for name, _ in named], [image for _, image in named]
    if not images:
        where = ", ".join(map(storage.shown, sources))
        raise ManifestError(f"{where}: no image there has a name in UTF-8")
    with ThreadPoolExecutor(THREADS) as pool:
        headers = list(pool.map(_header, images))
    return pa.table(
        {
            "id": _ids(names),
            "image": images,
            "width": [width for width, _, _ in headers],
            "height": [height for _, height, _ in headers],
            "bytes": [size for _, _, size in headers],
        },
        schema=SCHEMA,
    )


def _of_containers(source: str, reserved: Collection[str]) -> pa.Table:
    """The rows of Parquet or tar files, with names of pictures that hold from any folder."""
    table, base = read_manifest(source, reserved), root_of(source)

    def absolute(name: str | None) -> str | None:
        return name and (name if is_parametric(name) else storage.resolve(base, name))

    named = [name for name in FILES if name in table.column_names]
    whole = ([absolute(name) for name in table[column].to_pylist()] for column in named)
    columns = [pa.chunked_array([names], pa.string()) for names in whole]
    return with_columns(table, dict(zip(named, columns, strict=True)))


def write_manifest(table: pa.Table, uri: str) -> None:
    """Write a manifest in the format that its name says: .parquet, .csv, .jsonl or .ndjson.

    Raises:
        ManifestError: another suffix, or the storage refused.
    """
    name = uri.lower()
    sink = pa.BufferOutputStream()
    if name.endswith(".parquet"):
        pq.write_table(table, sink)
    elif name.endswith(".csv"):
        pyarrow.csv.write_csv(table, sink)
    elif name.endswith((".jsonl", ".ndjson")):
        for row in table.to_pylist():
            sink.write(json.dumps(row, ensure_ascii=False).encode() + b"\n")
    else:
        raise ManifestError(f"{storage.shown(uri)}: name it .parquet, .csv, .jsonl or .ndjson")
    storage.write_bytes(uri, sink.getvalue().to_pybytes())


def _find_all(sources: Sequence[str]) -> tuple[list[str], list[str]]:
    """As :func:`_find`, of one source or of several; each has an image at least."""
    found: list[tuple[list[str], list[str]]] = []
    for source in sources:
        if len(sources) > 1 and holds_rows(source):
            raise ManifestError(
                f"{storage.shown(source)}: Parquet and tar files go with no other source; of "
                "several of them give one name in quotes, such as 'shards/*.parquet'"
            )
        names, images = _find(source)
        if not images:
            raise ManifestError(
                f"{storage.shown(source)}: no images found (files ending in "
                f"{', '.join(sorted(image_suffixes())[:8])}, ...)"
            )
        found.append((names, images))
    if len(found) == 1:
        return found[0]
    return _below_common([image for _, images in found for image in images])


def _find(source: str) -> tuple[list[str], list[str]]:
    """The images, sorted, and their names in the source: what ids are made of."""
    if not source:
        raise ManifestError("the path of the images is empty")
    if source.lower().endswith(".txt"):
        return _from_list(source)
    fs, path = storage.filesystem(source)
    kind = storage.kind_of(source)
    if kind == "file":
        image = _uri(fs, path, source)
        if not (_has_suffix(path) or _is_array(path)) and _header(image)[0] is None:
            raise ManifestError(
                f"{storage.shown(source)} is neither an image nor a list (.txt); a manifest's name "
                "ends in .parquet, .csv, .jsonl or .ndjson"
            )
        return [storage.shown(image).rpartition("/")[2]], [image]
    # A folder is taken literally: its name may look like a glob.
    if kind == "directory":
        root = path.rstrip("/")
    elif any(c in path for c in "*?["):
        root = re.split(r"/[^/]*[*?\[]", path)[0]
    else:
        raise ManifestError(f"no such folder, file or prefix: {storage.shown(source)}")
    found = storage.find_files(source, glob=kind is None)
    seen = [f for f in found if not _is_hidden(f[len(root) :])]
    # Beside pictures, arrays are masks and kernels; where there is nothing else they are images.
    found = [f for f in seen if _has_suffix(f)] or [f for f in seen if _is_array(f)]
    start = len(_uri(fs, root, source))
    images = sorted(_uri(fs, f, source) for f in found)
    return [image[start:].lstrip("/") for image in images], images


def _from_list(source: str) -> tuple[list[str], list[str]]:
    base = storage.parent(storage.absolute(source))
    try:
        lines = storage.read_bytes(source).decode("utf-8-sig").split("\n")
    except UnicodeDecodeError as e:
        raise ManifestError(f"{storage.shown(source)}: not UTF-8 text: {e}") from None
    named = [line.strip() for line in lines]
    images = [storage.resolve(base, line) for line in named if line and not line.startswith("#")]
    if not images:
        raise ManifestError(f"{storage.shown(source)}: the list names no images")
    return _below_common(images)


def _below_common(images: Iterable[str]) -> tuple[list[str], list[str]]:
    """The images, sorted, each once, and their names below the deepest folder that holds all."""
    images = sorted(dict.fromkeys(images))
    paths = [re.sub("^[^/]*://|^/", "", storage.shown(image)).split("/") for image in images]
    folders = zip(*(path[:-1] for path in paths), strict=False)
    common = len(list(takewhile(lambda names: len(set(names)) == 1, folders)))
    return ["/".join(path[common:]) for path in paths], images


def _uri(fs: AbstractFileSystem, path: str, source: str) -> str:
    return path if storage.is_local(source) else fs.unstrip_protocol(path)


def _is_utf8(name: str) -> bool:
    """Whether it is text; other bytes of a file's name come as lone surrogates."""
    return not re.search("[\udc80-\udcff]", name)


def _is_hidden(path: str) -> bool:
    return any(part.startswith(".") for part in path.split("/") if part)


def _is_array(path: str) -> bool:
    return path.lower().endswith(SUFFIX)


def _has_suffix(path: str) -> bool:
    return os.path.splitext(path)[1].lower() in image_suffixes()


def _header(uri: str) -> tuple[int | None, int | None, int | None]:
    """Width, height and size in bytes, as far as they can be had."""
    size = None
    try:
        fs, path = storage.filesystem(uri)
        size = fs.size(path)
        file = fs.open(
            path, "rb", **({} if storage.is_local(uri) else {"block_size": HEADER_BYTES})
        )
        if _is_array(path):
            with file:
                height, width = image_size(npy_header(file)[0]) or (None, None)
            return width, height, size
        with file, Image.open(file, formats=decodable_formats()) as picture:
            width, height = picture.size
            # Not picture.getexif(): for PNG that decodes the whole picture.
            turned = Image.Image.getexif(picture).get(ExifTags.Base.Orientation, 1) in (5, 6, 7, 8)
            return (height, width, size) if turned else (width, height, size)
    except Exception:  # decoders and storages raise what they like; the job will say it in words
        return None, None, size


def _ids(names: list[str]) -> list[str]:
    """The names, without the suffix where they are unique without it.

    Names that stand there twice, of URLs that differ in their queries, are numbered.
    """
    times, seen = Counter(names), Counter[str]()
    below = []
    for name in names:
        seen[name] += 1
        path, suffix = os.path.splitext(name)
        below.append(f"{path}-{seen[name]}{suffix}" if times[name] > 1 else name)
    whole: set[str] = set()
    while True:
        ids = [name if name in whole else os.path.splitext(name)[0] for name in below]
        count = Counter(ids)
        # A suffix kept may make the name of another: a.png beside a.jpg and a.png.gif.
        clashing = {n for n, i in zip(below, ids, strict=True) if count[i] > 1} - whole
        if not clashing:
            return ids
        whole |= clashing
