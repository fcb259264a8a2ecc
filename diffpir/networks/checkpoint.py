"""Checkpoint files: `.pt` and `.safetensors` in, `.safetensors` out; none is ever executed."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, TypedDict, Unpack

import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor

from diffpir.errors import CheckpointError, ConfigError
from diffpir.networks.architecture import check_fit, check_numbers, infer_config, shapes_of
from diffpir.networks.facts import Fact, How
from diffpir.networks.tensors import FAULTS, SHOWN, read_entries
from diffpir.networks.unet import UNet, UNetConfig
from diffpir.networks.unwrap import find_weights
from diffpir.spectrum import PriorSpectrum


class Overrides(TypedDict, total=False):
    """What keys and shapes cannot tell, as for :func:`read_checkpoint`."""

    num_head_channels: int | None
    num_heads: int | None
    use_new_attention_order: bool | None


# Metadata of our own files: what keys and shapes cannot tell.
METADATA_KEY = "diffpir.unet"
SPECTRUM_KEY = "diffpir.spectrum"
MOST_METADATA = 2**20  # characters
UNTOLD = frozenset(Overrides.__annotations__)
# Family -> the key that all its networks have.
MARKS = {"guided-diffusion": "time_embed.0.weight"}


@dataclass(frozen=True)
class Checkpoint:
    """A network, as a file holds it.

    Attributes:
        config: its architecture.
        state: its tensors, of the types they are stored in, by the keys of :class:`UNet`.
        facts: what is known of it, and how.
    """

    config: UNetConfig
    state: dict[str, Tensor]
    facts: tuple[Fact, ...] = ()

    @property
    def parameters(self) -> int:
        return sum(tensor.numel() for tensor in self.state.values())


def load_model(
    path: str | Path, dtype: torch.dtype = torch.float32, **overrides: Unpack[Overrides]
) -> UNet:
    """The network of a guided-diffusion checkpoint, in evaluation mode, on the CPU.

    Args:
        path: a local ``.pt`` (``.pth``, ``.ckpt``) or ``.safetensors`` file.
        dtype: of the weights, but for the last layers' (see :func:`cast`). Those that the file has
            in this type are mapped, not read: all processes of a machine then have them in memory
            once.
        overrides: as for :func:`read_checkpoint`.

    Raises:
        CheckpointError: not such a checkpoint; the message names the file and the reason.
    """
    checkpoint = read_checkpoint(path, **overrides)
    with torch.device("meta"):
        net = UNet(checkpoint.config)
    net.load_state_dict(cast(checkpoint.state, dtype), assign=True)
    return net.requires_grad_(False).eval()


def read_checkpoint(
    path: str | Path,
    *,
    num_head_channels: int | None = None,
    num_heads: int | None = None,
    use_new_attention_order: bool | None = None,
) -> Checkpoint:
    """A checkpoint with its inferred architecture, checked tensor by tensor.

    Wrappers of trainers are taken off, and of several weights the exponential average is taken
    (:mod:`diffpir.networks.unwrap`). The keyword arguments settle what keys and shapes cannot
    tell; left at None, the file's own metadata decides where it has any, else the usual values:
    heads of 64 channels, legacy order.
    Of OpenAI's published models, ``128x128_diffusion`` needs ``num_heads=4`` and
    ``64x64_diffusion`` ``use_new_attention_order=True``; neither is told by its tensors.

    Raises:
        CheckpointError: not such a checkpoint; the message names the file and the reason.
    """
    path = Path(path)
    given = {
        "num_head_channels": num_head_channels,
        "num_heads": num_heads,
        "use_new_attention_order": use_new_attention_order,
    }
    try:
        entries, metadata = read_entries(path)
        weights = find_weights(entries, MARKS)
        if weights is None:
            raise CheckpointError(_no_mark(entries))
        told = _told(metadata)
        options = told | {name: value for name, value in given.items() if value is not None}
        shapes = shapes_of(weights.state)
        config = infer_config(shapes, **options)
        with torch.device("meta"):
            expected = shapes_of(UNet(config).state_dict())
        check_fit(shapes, expected)
        check_numbers(weights.state)
    except (CheckpointError, ValueError, TypeError, RuntimeError) as e:  # shapes that none can have
        raise CheckpointError(f"{path}: {e}") from None
    facts = [
        Fact("architecture", "guided-diffusion U-Net", "inferred", "names and shapes of tensors"),
        Fact("weights", weights.words, "found"),
    ]
    for name in given:
        value = getattr(config, name)
        if name == "num_heads" and value is None:
            continue
        if name == "num_head_channels" and config.num_heads is not None:
            continue
        how: How = "given" if given[name] is not None else "found" if name in told else "assumed"
        facts.append(Fact(name, str(value), how, "" if how != "assumed" else "tensors do not tell"))
    return Checkpoint(config, weights.state, tuple(facts))


def _told(metadata: Mapping[str, str]) -> dict[str, Any]:
    """What a file of our own says of its network."""
    try:
        told = json.loads(metadata.get(METADATA_KEY, "{}"))
    except FAULTS as e:
        raise CheckpointError(f"its metadata {METADATA_KEY!r}: {str(e)[:SHOWN]}") from None
    if not isinstance(told, dict) or not told.keys() <= UNTOLD:
        raise CheckpointError(f"its metadata {METADATA_KEY!r} is not this project's")
    return told


def _no_mark(entries: Mapping[str, Tensor]) -> str:
    some = ", ".join(sorted(entries)[:3])
    return (
        f"not a guided-diffusion U-Net: no tensor {MARKS['guided-diffusion']!r} "
        f"(its first tensors are: {some[:SHOWN]})"
    )


def read_spectrum(path: str | Path) -> PriorSpectrum | None:
    """The error spectrum that a checkpoint file has; None where nobody measured it.

    Raises:
        CheckpointError: what it has is none.
    """
    path = Path(path)
    if path.suffix != ".safetensors":
        return None
    try:
        with safe_open(str(path), framework="pt") as f:
            text = (f.metadata() or {}).get(SPECTRUM_KEY)
        if text is None:
            return None
        if len(text) > MOST_METADATA:
            raise CheckpointError(f"its metadata {SPECTRUM_KEY!r} has {len(text)} characters")
        return PriorSpectrum.from_plain(json.loads(text))
    except (CheckpointError, ConfigError) as e:
        raise CheckpointError(f"{path}: {e}") from None
    except FAULTS as e:
        raise CheckpointError(f"{path}: {SPECTRUM_KEY}: {str(e)[:SHOWN]}") from None


def save_model(
    net: UNet,
    path: str | Path,
    dtype: torch.dtype = torch.float32,
    spectrum: PriorSpectrum | None = None,
) -> Path:
    """Write ``.safetensors`` that :func:`load_model` reads back without any override.

    The weights are of that type, but for the last layers' (see :func:`cast`).
    """
    state = {key: tensor.detach().cpu() for key, tensor in net.state_dict().items()}
    return save_checkpoint(Checkpoint(net.config, cast(state, dtype)), path, spectrum)


def save_checkpoint(
    checkpoint: Checkpoint, path: str | Path, spectrum: PriorSpectrum | None = None
) -> Path:
    """Write ``.safetensors`` with the tensors as they are, whatever no tensor tells beside them."""
    config = asdict(checkpoint.config)
    metadata = {METADATA_KEY: json.dumps({name: config[name] for name in sorted(UNTOLD)})}
    if spectrum:
        metadata[SPECTRUM_KEY] = json.dumps(spectrum.plain())
    save_file(checkpoint.state, str(path), metadata)
    return Path(path)


def cast(state: Mapping[str, Tensor], dtype: torch.dtype) -> dict[str, Tensor]:
    """A network's tensors in that type; those of its last norm and convolution in float32.

    They are a thousandth of the weights, and to round them shifts the colour of all images alike:
    a mean error of the predicted noise is multiplied by sigma_bar in x0.
    """
    return {
        key: tensor.to(torch.float32 if key.startswith("out.") else dtype)
        for key, tensor in state.items()
    }


def file_digest(path: str | Path) -> str:
    """SHA-256 of a file's bytes, in hex: what results name the model by."""
    with Path(path).open("rb") as f:
        return hashlib.file_digest(f, "sha256").hexdigest()
