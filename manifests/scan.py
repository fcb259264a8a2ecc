"""One look at every row of a manifest, before any work."""

from __future__ import annotations

from dataclasses import dataclass

import pyarrow as pa
import pyarrow.compute as pc

from manifests.digest import ContentDigest
from manifests.errors import ManifestError
from manifests.limits import short
from manifests.manifest import Manifest
from manifests.schema import check_given
from manifests.unique import SeenIds, duplicates
from manifests.uris import scheme_of


@dataclass(frozen=True)
class Contents:
    """What a manifest holds.

    Attributes:
        rows: how many.
        sha256: of columns and rows.
        schemes: of the URIs that images are named by (:func:`manifests.uris.scheme_of`).
    """

    rows: int
    sha256: str
    schemes: frozenset[str]


def scan(manifest: Manifest) -> Contents:
    """Read all rows.

    Raises:
        ManifestError: there are none, or an id is missing or stands there twice; names the rows.
    """
    digest, seen = ContentDigest(manifest.schema), SeenIds()
    schemes: set[str] = set()
    for batch in manifest.batches():
        check_given(batch.rows["id"], manifest.name, digest.rows + 1)
        seen.add(batch.rows["id"])
        schemes |= _schemes(batch.rows["image"], manifest.base)
        digest.add(batch.rows)
    if not digest.rows:
        raise ManifestError(f"{manifest.name}: the manifest has no rows")
    if suspects := seen.suspects():
        for value, first, second in duplicates(manifest.column("id"), suspects)[:1]:
            raise ManifestError(
                f"{manifest.name}: id {short(value)} stands in rows {first} and {second}"
            )
    return Contents(digest.rows, digest.hexdigest(), frozenset(schemes))


def _schemes(images: pa.ChunkedArray, base: str) -> set[str]:
    files = pc.replace_substring_regex(images, r"^(parquet|tar)://.*?::", "")
    named = pc.extract_regex(files, r"^(?P<scheme>[A-Za-z][A-Za-z0-9+.-]+)://")
    found = pc.unique(pc.struct_field(named, "scheme")).drop_null().to_pylist()
    schemes = {scheme_of(f"{scheme}://") for scheme in found}
    paths = files.filter(pc.is_null(named))
    if len(paths):
        absolute = pc.all(pc.starts_with(paths, "/"), skip_nulls=True).as_py()
        schemes.add("file" if absolute else scheme_of(base))
    return schemes
