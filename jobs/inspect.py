"""``diffpir models inspect``."""

from __future__ import annotations

from dataclasses import asdict

from diffpir.networks.builtin import builtin_path
from diffpir.networks.checkpoint import file_digest, read_checkpoint
from manifests import storage


def describe_model(uri: str, **untold) -> str:
    """What a checkpoint is, a line each; ``untold`` as for ``read_checkpoint``.

    Raises:
        CheckpointError, StorageError: it is none, or cannot be read.
    """
    path = storage.cached_local(builtin_path() if uri == "builtin" else uri)
    checkpoint = read_checkpoint(path, **untold)
    types = sorted({str(t.dtype).removeprefix("torch.") for t in checkpoint.state.values()})
    facts = {
        "file": path,
        "sha256": file_digest(path),
        "parameters": f"{checkpoint.parameters:,} ({', '.join(types)})",
        "family": "guided-diffusion U-Net",
        "size multiple": f"{checkpoint.config.stride} pixels (other sizes are padded)",
        "learned sigma": checkpoint.config.out_channels == 6,
        **asdict(checkpoint.config),
    }
    width = max(map(len, facts))
    return "\n".join(f"{name:<{width}}  {value}" for name, value in facts.items())
