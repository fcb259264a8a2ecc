"""The columns of a result, after those of the manifest."""

from __future__ import annotations

import json

import pyarrow as pa

SHARD = "__shard"  # the column that says, inside the flow, which shard a row belongs to

SAMPLER = pa.struct(
    [
        ("nfe", pa.int32()),
        ("lam", pa.float64()),
        ("zeta", pa.float64()),
        ("guidance", pa.float64()),
        ("spacing", pa.string()),
        ("final", pa.string()),
        ("first_timestep", pa.int32()),
    ]
)

RESTORED = pa.struct([("bytes", pa.binary()), ("path", pa.string())])

# Tells Hugging Face's `datasets` that the column holds pictures.
METADATA = {"huggingface": json.dumps({"info": {"features": {"restored": {"_type": "Image"}}}})}

# Filled by the restorer; all but status, error, task, sampler and model are null in a failed row.
OUTCOME = pa.schema(
    [
        ("status", pa.string()),
        ("error", pa.string()),
        ("width", pa.int64()),
        ("height", pa.int64()),
        ("psnr", pa.float64()),
        ("psnr_y", pa.float64()),
        ("ssim", pa.float64()),
        ("residual", pa.float64()),
        ("baseline_psnr", pa.float64()),
        ("noise_level", pa.float64()),
        ("seed", pa.int64()),
        ("task", pa.string()),
        ("sampler", SAMPLER),
        ("model", pa.string()),
        ("seconds", pa.float64()),
    ]
)

# A manifest may have these: the result then says what was true of the restored image.
REPLACED = frozenset({"width", "height", "noise_level", "seed"})

# A manifest may not have these.
RESERVED = frozenset(OUTCOME.names) - REPLACED | {"restored", SHARD}
