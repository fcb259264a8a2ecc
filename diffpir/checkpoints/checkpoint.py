"""Checkpoint files: `.pt` and `.safetensors` in, `.safetensors` out; none is ever executed."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, TypedDict, Unpack

import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor

from diffpir.checkpoints.architecture import check_numbers
from diffpir.checkpoints.facts import Fact
from diffpir.checkpoints.families import MARKS, UNTOLD, read_network
from diffpir.checkpoints.folder import find_files
from diffpir.checkpoints.recognise import LATENT_PARTS, what_tensors_seem
from diffpir.checkpoints.tensors import FAULTS, SHOWN, read_entries
from diffpir.checkpoints.training_facts import diffusion_of
from diffpir.checkpoints.unwrap import find_weights
from diffpir.errors import CheckpointError, ConfigError
from diffpir.networks.diffusion import Diffusion, Prediction
from diffpir.networks.unet import UNet, UNetConfig
from diffpir.schedule import Schedule
from diffpir.spectrum import PriorSpectrum


class Options(TypedDict, total=False):
    """What a file cannot tell, as for :func:`read_checkpoint`."""

    num_head_channels: int | None
    num_heads: int | None
    use_new_attention_order: bool | None
    schedule: Schedule | None
    prediction: Prediction | None
    rescale_timesteps: bool | None
    config: Path | None
    scheduler: Path | None


# Metadata of our own files: what keys and shapes cannot tell, and the diffusion.
METADATA_KEY = "diffpir.unet"
DIFFUSION_KEY = "diffpir.diffusion"
SPECTRUM_KEY = "diffpir.spectrum"
MOST_METADATA = 2**20  # characters
# What our own files say of their network.
WRITTEN = UNTOLD | {"norm_groups", "norm_eps", "freq_shift", "asymmetric_downsampling"}


@dataclass(frozen=True)
class Checkpoint:
    """A network, as a file holds it.

    Attributes:
        config: its architecture.
        state: its tensors, of the types they are stored in, by the keys of :class:`UNet`.
        diffusion: that it was trained in.
        facts: what is known of it, and how.
    """

    config: UNetConfig
    state: dict[str, Tensor]
    diffusion: Diffusion = field(default_factory=Diffusion)
    facts: tuple[Fact, ...] = ()

    @property
    def parameters(self) -> int:
        return sum(tensor.numel() for tensor in self.state.values())


def load_model(
    path: str | Path, dtype: torch.dtype = torch.float32, **options: Unpack[Options]
) -> UNet:
    """Load the network of a checkpoint, on the CPU and in evaluation mode.

    :func:`diffpir.checkpoints.prior.load_prior` also tells the diffusion that the network was
    trained in.

    Args:
        path: a local ``.pt`` (``.pth``, ``.ckpt``, ``.bin``) or ``.safetensors`` file, or a folder
            as diffusers writes it. No code in a file is executed.
        dtype: the type of the weights in memory.
        options: what the file does not tell, as for :func:`read_checkpoint`.

    Raises:
        CheckpointError: the file is not a checkpoint that can be used; the message names the
            reason.

    Examples:
        >>> from diffpir import builtin_path, load_model
        >>> load_model(builtin_path()).config.in_channels
        3
    """
    return network_of(read_checkpoint(path, **options), dtype)


def network_of(checkpoint: Checkpoint, dtype: torch.dtype = torch.float32) -> UNet:
    """In evaluation mode, on the CPU; its weights are of that type (see :func:`cast`)."""
    with torch.device("meta"):
        net = UNet(checkpoint.config)
    net.load_state_dict(cast(checkpoint.state, dtype), assign=True)
    return net.requires_grad_(False).eval()


def read_checkpoint(path: str | Path, **options: Unpack[Options]) -> Checkpoint:
    """A checkpoint with its architecture, checked tensor by tensor.

    Wrappers of trainers are taken off, and of several weights the exponential average is taken
    (:mod:`diffpir.checkpoints.unwrap`). Networks of other families that are ours under other names
    are read by renaming their tensors.

    Args:
        path: a local ``.pt`` (``.pth``, ``.ckpt``, ``.bin``) or ``.safetensors`` file, or a folder
            as diffusers writes it.
        options: what the file cannot tell; left out or None, the file's own words decide where it
            has any, else the usual values: heads of 64 channels, legacy order, the linear schedule
            of 1000 steps, whose noise is predicted. Of OpenAI's published models,
            ``128x128_diffusion`` needs ``num_heads=4`` and ``64x64_diffusion``
            ``use_new_attention_order=True`` and a cosine schedule; no tensor tells either.
            ``config`` and ``scheduler`` are diffusers' ``config.json`` and
            ``scheduler_config.json`` where they do not lie beside the file.

    Raises:
        CheckpointError: not such a checkpoint; the message names the file and the reason.
    """
    files = find_files(Path(path), options.get("config"), options.get("scheduler"))
    given = {
        name: value
        for name, value in options.items()
        if value is not None and name not in ("config", "scheduler")
    }
    try:
        entries, metadata = read_entries(files.weights)
        weights = find_weights(entries, MARKS)
        if weights is None:
            raise CheckpointError(_no_mark(entries))
        if LATENT_PARTS.search("\n".join(entries)):
            raise CheckpointError(f"it seems to be {what_tensors_seem(entries)}")
        try:
            network = read_network(weights, files, _told(metadata), given)
        except (CheckpointError, ValueError, TypeError, RuntimeError) as e:
            seems = what_tensors_seem(weights.state)
            raise CheckpointError(f"it seems to be {seems} ({e})" if seems else str(e)) from None
        check_numbers(network.state)
        diffusion, trained = diffusion_of(
            entries, metadata.get(DIFFUSION_KEY), network.diffusion, given
        )
    except (CheckpointError, ValueError, TypeError, RuntimeError) as e:  # shapes that none can have
        raise CheckpointError(f"{files.weights}: {e}") from None
    facts = (*network.facts, Fact("weights", weights.words, "found"), *trained)
    return Checkpoint(network.config, network.state, diffusion, facts)


def _told(metadata: Mapping[str, str]) -> dict[str, Any]:
    """What a file of our own says of its network."""
    try:
        told = json.loads(metadata.get(METADATA_KEY, "{}"))
    except FAULTS as e:
        raise CheckpointError(f"its metadata {METADATA_KEY!r}: {str(e)[:SHOWN]}") from None
    if not isinstance(told, dict) or not told.keys() <= WRITTEN:
        raise CheckpointError(f"its metadata {METADATA_KEY!r} is not this project's")
    return told


def _no_mark(entries: Mapping[str, Tensor]) -> str:
    if not entries:
        return "it holds no tensors"
    seems = what_tensors_seem(entries)
    if seems:
        return f"it seems to be {seems}"
    some = ", ".join(sorted(entries)[:3])
    return (
        f"not a network of a known family ({', '.join(MARKS)}): its first tensors are "
        f"{some[:SHOWN]}; for others, a factory of your own can be the model"
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
    diffusion: Diffusion | None = None,
) -> Path:
    """Write ``.safetensors`` that :func:`load_model` reads back without any override.

    The weights are of that type, but for the last layers' (see :func:`cast`).
    """
    state = {key: tensor.detach().cpu() for key, tensor in net.state_dict().items()}
    checkpoint = Checkpoint(net.config, cast(state, dtype), diffusion or Diffusion())
    return save_checkpoint(checkpoint, path, spectrum)


def save_checkpoint(
    checkpoint: Checkpoint, path: str | Path, spectrum: PriorSpectrum | None = None
) -> Path:
    """Write ``.safetensors`` with the tensors as they are, whatever no tensor tells beside them."""
    config = asdict(checkpoint.config)
    metadata = {
        METADATA_KEY: json.dumps({name: config[name] for name in sorted(WRITTEN)}),
        DIFFUSION_KEY: json.dumps(checkpoint.diffusion.plain),
    }
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
