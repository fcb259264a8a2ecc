"""The columns of a result, after those of the manifest."""

from __future__ import annotations

import json
from collections.abc import Sequence

import pyarrow as pa

# Columns inside the flow, not of the results: the shard and generation that a row belongs to, its
# place in the shard, and who restored it (host and process), with its peak memory (bytes: of the
# process, of its GPU).
SHARD, GENERATION, INDEX = "__shard", "__generation", "__index"
PEAK, DEVICE_PEAK = "__peak_memory", "__peak_device_memory"
ACTOR = "__actor"
HIDDEN = (SHARD, GENERATION, INDEX, ACTOR, PEAK, DEVICE_PEAK)

# Of a row's image, from loading it to encoding the result (pipeline.pictures.metadata.Metadata).
IMAGE_METADATA = pa.struct(
    [
        ("exif", pa.binary()),
        ("inches", pa.list_(pa.float64())),
        ("srgb", pa.bool_()),
        ("profile", pa.binary()),
        ("layout", pa.string()),
    ]
)

SAMPLER = pa.struct(
    [
        ("method", pa.string()),
        ("nfe", pa.int32()),
        ("lam", pa.float64()),
        ("zeta", pa.float64()),
        ("guidance", pa.float64()),
        ("relax", pa.float64()),
        ("spacing", pa.string()),
        ("final", pa.string()),
        ("first_timestep", pa.int32()),
        ("sigma_max", pa.float64()),
        ("sigma_min", pa.float64()),
        ("prior_std", pa.float64()),
    ]
)

PICTURE = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
# The pictures of a row, after all other columns: the restored one; the standard deviation of
# several samples at each pixel, as 16-bit grey where 65535 is 1; these samples; and of a watched
# row what the sampler saw at some steps, before and after the data step, named by ``step_name``.
PICTURES = pa.schema(
    [
        ("restored", PICTURE),
        ("uncertainty_map", PICTURE),
        ("samples", pa.list_(PICTURE)),
        ("steps", pa.list_(PICTURE)),
    ]
)

_HUGGING_FACE = b"huggingface"


def metadata_of(pictures: Sequence[str]) -> dict[bytes, str]:
    """Of a schema; tells Hugging Face's `datasets` which columns hold pictures."""
    images = {name: {"_type": "Image"} for name in pictures}
    return {_HUGGING_FACE: json.dumps({"info": {"features": images}})}


def holds_pictures(schema: pa.Schema) -> bool:
    """Whether the restored images of a part are pictures, by its metadata; else they are arrays."""
    told = (schema.metadata or {}).get(_HUGGING_FACE, b"{}")
    return "restored" in json.loads(told).get("info", {}).get("features", {})


# Filled by the restorer. In a failed row, what was measured is null, and width, height, noise_level
# and noise are the manifest's.
OUTCOME = pa.schema(
    [
        ("width", pa.int64()),
        ("height", pa.int64()),
        ("psnr", pa.float64()),
        ("psnr_y", pa.float64()),
        ("ssim", pa.float64()),
        ("lpips_vgg", pa.float64()),
        ("lpips_alex", pa.float64()),
        ("residual", pa.float64()),
        ("uncertainty", pa.float64()),
        ("uncertainty_scale", pa.float64()),
        ("within_1_std", pa.float64()),
        ("within_2_std", pa.float64()),
        ("baseline_psnr", pa.float64()),
        ("fid_features", pa.list_(pa.float32())),
        ("fid_reference_features", pa.list_(pa.float32())),
        ("noise_level", pa.float64()),
        ("noise", pa.string()),
        ("ceiling", pa.float64()),
        ("kernel_estimate", pa.string()),
        ("hidden", pa.float64()),
        ("warning", pa.string()),
        ("seed", pa.int64()),
        ("task", pa.string()),
        ("sampler", SAMPLER),
        ("model", pa.string()),
        ("seconds", pa.float64()),
    ]
)

# Of a restored image and of its reference, (D,): null where the job names no network for them.
FEATURES = ("fid_features", "fid_reference_features")

STATUS = pa.schema([("status", pa.string()), ("error", pa.string()), ("error_kind", pa.string())])

# Of OUTCOME, what a failed row has too.
CONSTANT = frozenset({"seed", "task", "sampler", "model"})

# A manifest may have these: the result then says what was true of the restored image.
REPLACED = frozenset({"width", "height", "noise_level", "noise", "seed"})

# A manifest may not have these.
RESERVED = frozenset(OUTCOME.names + STATUS.names) - REPLACED | {*PICTURES.names, *HIDDEN}
