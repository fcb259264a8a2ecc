"""What a report says of each column: its name for people, its unit, and which end is better."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import asdict, dataclass
from typing import Any, Literal

import pyarrow as pa

from manifests.schema import TYPES
from pipeline.schema import OUTCOME, PICTURES, STATUS
from pipeline.steps.table import VERSION

Better = Literal["high", "low", "one"] | None


@dataclass(frozen=True)
class Field:
    """A column that pictures are sorted and filtered by.

    Attributes:
        name: of the column.
        label: for people.
        unit: of its numbers, or empty.
        kind: ``number`` or ``text``.
        better: which numbers are good; None where none are.
        own: it is the user's, of the manifest.
    """

    name: str
    label: str
    unit: str = ""
    kind: Literal["number", "text"] = "number"
    better: Better = None
    own: bool = False

    def plain(self) -> dict[str, Any]:
        """As JSON holds it."""
        return asdict(self)


METRIC_FIELDS = {
    field.name: field
    for field in (
        Field("psnr", "PSNR", "dB", better="high"),
        Field("gain", "Gain over the measurement", "dB", better="high"),
        Field("ssim", "SSIM", better="high"),
        Field("lpips_vgg", "LPIPS (VGG)", better="low"),
        Field("lpips_alex", "LPIPS (AlexNet)", better="low"),
        Field("residual", "Residual", better="one"),
        Field("uncertainty", "Uncertainty", better="low"),
        Field("psnr_y", "PSNR of the luma", "dB", better="high"),
        Field("baseline_psnr", "PSNR of the measurement", "dB", better="high"),
        Field("uncertainty_scale", "Uncertainty scale needed"),
        Field("within_1_std", "Within one standard deviation"),
        Field("within_2_std", "Within two standard deviations"),
        Field("seconds", "Seconds", "s", better="low"),
    )
}
FACTS = (
    Field("noise_level", "Noise level"),
    Field("pixels", "Pixels"),
    Field("status", "Status", kind="text"),
    Field("error_kind", "Kind of failure", kind="text"),
    Field("task", "Task", kind="text"),
    Field("kernel_estimate", "Estimated kernel", kind="text"),
    Field("warning", "Warning", kind="text"),
    Field("made", "Made at (UTC)", kind="text"),
    Field("seed", "Seed", kind="text"),  # JavaScript does not know all whole numbers
)
OURS = {*OUTCOME.names, *STATUS.names, *PICTURES.names, *TYPES, *VERSION, "id", "made"}


def own_fields(schema: pa.Schema, ours: Collection[str] = frozenset(OURS)) -> list[Field]:
    """The user's own columns that one can sort or filter by."""
    found = []
    for field in schema:
        if field.name in ours:
            continue
        kind = field.type
        if pa.types.is_dictionary(kind):
            kind = kind.value_type
        number = pa.types.is_integer(kind) or pa.types.is_floating(kind)
        text = pa.types.is_string(kind) or pa.types.is_large_string(kind)
        if number or text or pa.types.is_boolean(kind) or pa.types.is_temporal(kind):
            found.append(
                Field(field.name, field.name, kind="number" if number else "text", own=True)
            )
    return found
