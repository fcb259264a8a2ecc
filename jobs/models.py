"""``diffpir models``: what a checkpoint is, and another precision of it."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

from safetensors import SafetensorError

from diffpir.networks.checkpoint import file_digest, load_model, read_checkpoint, save_model
from diffpir.networks.precision import DTYPES
from pipeline.errors import PipelineError
from pipeline.versions import local_file


def describe_model(uri: str, **untold) -> str:
    """What a checkpoint is, a line each; ``untold`` as for ``read_checkpoint``.

    Raises:
        CheckpointError, StorageError: it is none, or cannot be read.
    """
    path = local_file(uri)
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


def convert_model(uri: str, output: Path, precision: str, **untold) -> str:
    """Write a checkpoint as ``.safetensors`` with weights of that precision; returns what it is.

    Raises:
        PipelineError: ``output`` is no such file's name, or cannot be written.
        CheckpointError, StorageError: the checkpoint is none, or cannot be read.
    """
    if precision not in DTYPES or output.suffix != ".safetensors":
        raise PipelineError(
            f"convert writes .safetensors in {', '.join(DTYPES)}, not {output} in {precision}"
        )
    dtype = DTYPES[precision]
    net = load_model(local_file(uri), dtype, **untold)
    try:
        save_model(net, output, dtype)
    except (OSError, SafetensorError) as e:
        raise PipelineError(f"{output}: cannot be written ({e})") from None
    return describe_model(str(output))
