"""Which columns of a file become which of the manifest, and which of them hold pictures."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import pyarrow as pa

from manifests.errors import ManifestError
from manifests.limits import cut, short
from manifests.schema import FILES


@dataclass(frozen=True)
class Choice:
    """What is read of a table.

    Attributes:
        names: of the manifest's columns -> those of the file.
        pictures: names of the manifest's columns that hold files themselves.
        left_out: columns of pictures that are none of the manifest's.
    """

    names: Mapping[str, str]
    pictures: frozenset[str]
    left_out: tuple[str, ...]

    @property
    def light(self) -> dict[str, str]:
        """The columns whose values are read with the manifest."""
        return {ours: theirs for ours, theirs in self.names.items() if ours not in self.pictures}


def choose(
    schema: pa.Schema, source: str, renamed: Mapping[str, str], dropped: frozenset[str]
) -> Choice:
    """Columns of a file with that schema.

    Args:
        schema: of the file.
        source: what messages call it.
        renamed: the manifest's name -> the file's. A column of the file that has such a name
            already is left out.
        dropped: the file's, that are left out.

    Raises:
        ManifestError: a column is not there, or no column can be the image.
    """
    for wanted, column in renamed.items():
        if column not in schema.names:
            raise ManifestError(
                f"{source}: columns.{wanted}: there is no column {short(column)}; it has "
                f"{cut(', '.join(schema.names)) or 'none'}"
            )
    names: dict[str, str] = {}
    left_out: list[str] = []
    kinds = dict(zip(schema.names, schema.types, strict=True))
    ours_of = {theirs: ours for ours, theirs in renamed.items()}
    for name, kind in kinds.items():
        ours = ours_of[name] if name in ours_of else name  # noqa: SIM401
        if name not in ours_of and (name in renamed or name in dropped):
            continue
        if ours not in FILES and _is_media(kind):
            left_out.append(name)
        else:
            names[ours] = name
    candidates = [*left_out, *(name for name in names.values() if _is_binary(kinds[name]))]
    if "image" not in names and candidates:
        raise ManifestError(
            f"{source}: no column 'image'; {', '.join(candidates)} could be it: name one, as in "
            f"columns: {{image: {candidates[0]}}} or --image-column {candidates[0]}"
        )
    pictures = {name for name in FILES if name in names and _is_held(kinds[names[name]])}
    return Choice(names, frozenset(pictures), tuple(left_out))


def renamed_table(table: pa.Table, source: str, renamed: Mapping[str, str]) -> pa.Table:
    """A table whose columns hold no pictures, with the manifest's names."""
    choice = choose(table.schema, source, renamed, frozenset())
    return table.select(list(choice.names.values())).rename_columns(list(choice.names))


def _is_held(kind: pa.DataType) -> bool:
    return _is_binary(kind) or _is_media(kind)


def _is_binary(kind: pa.DataType) -> bool:
    return kind in (pa.binary(), pa.large_binary(), pa.binary_view())


def _is_media(kind: pa.DataType) -> bool:
    """Whether values are files, as Hugging Face `datasets` has them; or lists of these."""
    if pa.types.is_list(kind) or pa.types.is_large_list(kind):
        return _is_media(kind.value_type)
    if not pa.types.is_struct(kind):
        return False
    place = kind.get_field_index("bytes")
    return place >= 0 and _is_binary(kind.field(place).type)
