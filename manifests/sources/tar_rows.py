"""WebDataset tar files as manifests: the members of one key are a row.

A member's key is its path up to the first dot of its base name, and the rest is its extension, as
in the library webdataset. The extension, in capitals or not, says what the member is:

    jpg, png, webp, ...                    column ``image``
    npy                                    column ``image``, in a file that has no pictures
    ref.png, reference.jpg, ref.npy, ...   column ``reference``
    mask.png, mask.npy, ...                column ``mask``
    kernel.npy, kernel.mat, kernel.png     column ``kernel``
    noise_map.npy                          column ``noise_map``
    json                                   its fields are columns, nested values as JSON text
    txt, cls                               columns ``txt`` and ``cls``

Other members are left out, and so are hidden names and what webdataset keeps for itself
(``__name__``). Pictures are not fetched, but named (:mod:`manifests.embedded`).
"""

from __future__ import annotations

import io
import json
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import BinaryIO

import pyarrow as pa

from manifests.embedded import Member
from manifests.errors import ManifestError
from manifests.formats import image_suffixes
from manifests.limits import Limit, cut, short
from manifests.schema import FILES
from manifests.secrets import shown
from manifests.sources.plain_columns import plain_column
from manifests.sources.read_json import DigitsError, DuplicateKeyError, distinct, whole
from manifests.sources.tar_headers import RegularFile, regular_files
from manifests.storage.ranges import RangedFile

READ_AHEAD = 4096  # bytes: a small member often comes with the headers before and after it
SMALL_BYTES = 1 << 16  # of a member whose content is read here
MEMBER_BYTES = 256  # that a member takes in memory, beside its names
FIELD_BYTES = 64  # that a field of a JSON object takes, beside what was written
CELL_BYTES = 8
NAMED = 8  # extensions in a message

PREFIXES = {
    "": "image",
    "ref": "reference",
    "reference": "reference",
    "mask": "mask",
    "kernel": "kernel",
    "noise_map": "noise_map",
}
_FORMATS = (".npy", ".npz", ".mat")
ARRAY = "npy"  # an image where no key has a picture; beside pictures it is something else
ARRAYS = {"reference": (".npy",), "mask": (".npy",), "kernel": _FORMATS, "noise_map": _FORMATS}
TEXTS = ("json", "txt", "cls")
# Fields that the members themselves say, or that were true of the file that a picture came from.
LEFT_OUT = ("image", "reference", "mask", "noise_map", "bytes", "etag")
COMPRESSED = {
    "gzip": ((".gz", ".tgz"), b"\x1f\x8b"),
    "bzip2": ((".bz2", ".tbz", ".tbz2"), b"BZh"),
    "xz": ((".xz", ".txz"), b"\xfd7zXZ\0"),
    "zstd": ((".zst", ".tzst"), b"\x28\xb5\x2f\xfd"),
}
BEGIN_BYTES = max(len(begin) for _, begin in COMPRESSED.values())
_WEBDATASETS_OWN = re.compile(r"__[^/]*__($|/)")
_WHOLE = re.compile(r"0|-?[1-9][0-9]{0,18}")


@dataclass
class Sample:
    """The members of one key.

    Attributes:
        members: by the columns of ``FILES``, or by their extension, of ``TEXTS`` or ``ARRAY``.
        values: of columns, from the contents of members.
        has_picture: whether any member is a picture, whatever its extension says before.
    """

    members: dict[str, RegularFile] = field(default_factory=dict)
    values: dict[str, object] = field(default_factory=dict)
    has_picture: bool = False


def read_tar(
    uri: str,
    name: str,
    relative: str,
    limit: Limit,
    on_left_out: Callable[[list[str]], None] = lambda _: None,
) -> pa.Table:
    """The rows of a tar file, in the order in which their keys first appear.

    Args:
        uri: path or URI of the tar file.
        name: what messages call the tar file.
        relative: the tar file's path or URI as references shall have it.
        limit: of the memory that the rows may take.
        on_left_out: told the keys without a picture, if there are any; they are no rows.

    Returns:
        ``id`` is ``relative`` without ``.tar``, then a slash and the key. ``image`` is null where
        a key has only other pictures. Of the fields of JSON, those that members say are left out
        (``LEFT_OUT``, and ``kernel``, ``txt`` and ``cls`` beside such a member), and ``id`` is the
        column ``json_id``. JSON that is no object is text in the column ``json``. All columns
        hold booleans, whole numbers, fractions or text; null, where no row gives a value.

    Raises:
        ManifestError: compressed, damaged or cut short; not a tar file; without pictures; or a
            member cannot be understood.
        StorageError: the file cannot be read.
    """
    _refuse_compressed(name, suffix=shown(uri).lower())
    raw = RangedFile(uri)
    file = io.BufferedReader(raw, READ_AHEAD)
    _refuse_compressed(name, begin=file.read(BEGIN_BYTES))
    samples, others = _samples(file, raw.size, name, relative, limit)
    if not any("image" in sample.members for sample in samples.values()):
        for sample in samples.values():
            if array := sample.members.get(ARRAY):
                sample.members["image"], sample.has_picture = array, True
    rows = {key: sample for key, sample in samples.items() if sample.has_picture}
    if not any("image" in sample.members for sample in rows.values()):
        found = ", ".join(others) or "none"
        raise ManifestError(
            f"{name}: none of its {len(samples)} keys has an image, which is a member whose name "
            "from the first dot on is .jpg, .png, .npy or the like; the members that are not known "
            f"have the extensions {cut(found)}"
        )
    if len(rows) < len(samples):
        on_left_out([key for key in samples if key not in rows])
    return _table(rows, relative)


def _refuse_compressed(name: str, suffix: str = "", begin: bytes = b"") -> None:
    for kind, (suffixes, magic) in COMPRESSED.items():
        if suffix.endswith(suffixes) or begin.startswith(magic):
            raise ManifestError(
                f"{name}: compressed with {kind}, and so the members cannot be read one by one; "
                "unpack the file to a .tar"
            )


def _samples(
    file: BinaryIO, file_bytes: int, name: str, relative: str, limit: Limit
) -> tuple[dict[str, Sample], list[str]]:
    """The samples by their keys, and some extensions that are not known."""
    samples: dict[str, Sample] = {}
    others: dict[str, None] = {}
    columns: dict[str, None] = {}
    taken = 0
    for member in regular_files(file, file_bytes, name):
        key, extension = _key_and_extension(member.name)
        if not key:
            continue
        is_picture, role = _role(extension)
        if re.search("[\ud800-\udfff]", member.name):
            raise ManifestError(
                f"{name}: member {short(member.name)} has a name that is not UTF-8 text; write the "
                "tar file with names in UTF-8"
            )
        if role is None and len(others) < NAMED:
            others[f".{extension}"] = None
        taken += 0 if key in samples else MEMBER_BYTES + len(relative) + len(key)
        sample = samples.setdefault(key, Sample())
        sample.has_picture |= is_picture
        if role is None:
            continue
        if role in sample.members:
            raise ManifestError(
                f"{name}: key {short(key)} has two members for {role!r}, "
                f"{short(sample.members[role].name)} and {short(member.name)}; expected one"
            )
        sample.members[role] = member
        taken += MEMBER_BYTES + len(relative) + len(member.name)
        if role in TEXTS:
            values = _values(file, member, role, name)
            # A member's text wins over a field of the same name, whichever comes first.
            both = (values, sample.values) if role == "json" else (sample.values, values)
            sample.values = both[0] | both[1]
            columns |= dict.fromkeys(values)
            limit.check_columns(len(columns))
            taken += member.size + FIELD_BYTES * len(values)
        limit.check(taken + CELL_BYTES * len(columns) * len(samples))
    return samples, list(others)


def _key_and_extension(name: str) -> tuple[str, str]:
    """Both empty for a member that is hidden, or has no extension, or is webdataset's own."""
    name = name.removeprefix("./")  # as "tar -c ." has them
    folder, slash, base = name.rpartition("/")
    stem, _, extension = base.partition(".")
    parts = [part for part in folder.split("/") if part not in ("", ".", "..")]
    if not stem or not extension or "__MACOSX" in parts or _WEBDATASETS_OWN.match(name):
        return "", ""
    if any(part.startswith(".") for part in parts):
        return "", ""
    return f"{folder}{slash}{stem}", extension.lower()


def _role(extension: str) -> tuple[bool, str | None]:
    """Whether a member is a picture, and its column or, of what has none, its extension."""
    if extension in (*TEXTS, ARRAY):
        return False, extension
    prefix, _, suffix = extension.rpartition(".")
    column = PREFIXES.get(prefix)
    is_picture = f".{suffix}" in image_suffixes()
    known = column and (is_picture or f".{suffix}" in ARRAYS.get(column, ()))
    return is_picture and column not in ("kernel", "noise_map"), column if known else None


def _values(file: BinaryIO, member: RegularFile, extension: str, source: str) -> dict[str, object]:
    """The values of columns that a small member gives."""
    what = f"{source}: member {short(member.name)}"
    if member.size > SMALL_BYTES:
        raise ManifestError(
            f"{what} has {member.size} bytes; a .{extension} member may have {SMALL_BYTES}"
        )
    file.seek(member.offset)
    data = file.read(member.size)
    if len(data) < member.size:
        raise ManifestError(f"{what} is cut short; has the tar file changed meanwhile?")
    try:
        text = data.decode("utf-8-sig" if extension == "json" else "utf-8")
    except UnicodeDecodeError as e:
        raise ManifestError(f"{what} is not UTF-8 text: {e}") from None
    if extension == "txt":
        return {"txt": text}
    if extension == "cls":
        text = text.strip()
        return {"cls": int(text) if _WHOLE.fullmatch(text) else text}
    return _fields(text, what)


def _fields(text: str, what: str) -> dict[str, object]:
    try:
        content = json.loads(text, object_pairs_hook=distinct, parse_int=whole)
        if "\\u" in text:
            json.dumps(content, ensure_ascii=False).encode()
    except DuplicateKeyError as e:
        raise ManifestError(f"{what} has the field {short(str(e))} twice") from None
    except DigitsError as e:
        raise ManifestError(f"{what} has a number of {e} digits") from None
    except UnicodeEncodeError:
        raise ManifestError(f"{what} holds half of a character, such as \\ud800") from None
    except ValueError as e:
        raise ManifestError(f"{what} is not JSON: {cut(str(e))}") from None
    except RecursionError:
        raise ManifestError(f"{what} has too many values in one another") from None
    if not isinstance(content, dict):
        return {"json": text.strip()}
    named = {key: value for key, value in content.items() if key not in LEFT_OUT}
    if "id" in named:
        named = {"json_id": named.pop("id")} | named
    return {
        key: json.dumps(value, ensure_ascii=False) if isinstance(value, dict | list) else value
        for key, value in named.items()
    }


def _table(samples: dict[str, Sample], relative: str) -> pa.Table:
    stem = re.sub(r"\.tar$", "", shown(relative), flags=re.I).rpartition("://")[2]
    columns = {"id": pa.array([f"{stem}/{key}" for key in samples], pa.string())}
    given: dict[str, list[object]] = {}
    rows = list(samples.values())
    for name in FILES:
        if any(name in row.members for row in rows):
            given[name] = [_reference(row.members.get(name), relative) for row in rows]
    names = dict.fromkeys(key for row in rows for key in row.values)
    for name in names:
        values = [row.values.get(name) for row in rows]
        if name in given:  # the kernel, of which a member wins
            values = [first or second for first, second in zip(given[name], values, strict=True)]
        given[name] = values
    columns |= {name: plain_column(values) for name, values in given.items()}
    return pa.table(columns)


def _reference(member: RegularFile | None, relative: str) -> str | None:
    if member is None:
        return None
    return str(Member(relative, member.name, member.offset, member.size))
