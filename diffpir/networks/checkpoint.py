"""Checkpoint files: `.pt` and `.safetensors` in, `.safetensors` out; none is ever executed."""

from __future__ import annotations

import hashlib
import json
import pickle
import warnings
import zipfile
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, TypedDict, Unpack

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from diffpir.errors import CheckpointError, ConfigError
from diffpir.networks.architecture import check_fit, infer_config, shapes_of
from diffpir.networks.archive import check_archive, check_pickles
from diffpir.networks.unet import UNet, UNetConfig
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
SHOWN = 300  # characters of a file's own words in a message
SHARED = 4  # tensors of a file that may share their numbers, at most
# ValueError: JSON's own, and a number of too many digits; RecursionError: too deep a nesting.
FAULTS = (SafetensorError, OSError, ValueError, RecursionError)
UNTOLD = tuple(Overrides.__annotations__)


@dataclass(frozen=True)
class Checkpoint:
    """A checkpoint file's architecture, and its tensors as stored."""

    config: UNetConfig
    state: dict[str, Tensor]

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

    The keyword arguments settle what keys and shapes cannot tell; left at None, the file's own
    metadata decides where it has any, else the usual values: heads of 64 channels, legacy order.
    Of OpenAI's published models, ``128x128_diffusion`` needs ``num_heads=4`` and
    ``64x64_diffusion`` ``use_new_attention_order=True``; neither is told by its tensors.

    Raises:
        CheckpointError: not such a checkpoint; the message names the file and the reason.
    """
    path = Path(path)
    try:
        state, metadata = _read_tensors(path)
        given = {
            "num_head_channels": num_head_channels,
            "num_heads": num_heads,
            "use_new_attention_order": use_new_attention_order,
        }
        told = metadata | {name: value for name, value in given.items() if value is not None}
        shapes = shapes_of(state)
        config = infer_config(shapes, **told)
        with torch.device("meta"):
            expected = shapes_of(UNet(config).state_dict())
        check_fit(shapes, expected)
    except (CheckpointError, ValueError, TypeError, RuntimeError) as e:  # shapes that none can have
        raise CheckpointError(f"{path}: {e}") from None
    return Checkpoint(config, state)


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
    metadata = {METADATA_KEY: json.dumps({name: config[name] for name in UNTOLD})}
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


def read_tensors(path: str | Path) -> dict[str, Tensor]:
    """The tensors of a state dict's file, whatever network they are of.

    Raises:
        CheckpointError: it is no such file, with the reason.
    """
    return _read_tensors(Path(path))[0]


def _read_tensors(path: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    if not path.is_file():
        raise CheckpointError("no such file")
    if path.suffix == ".safetensors":
        return _read_safetensors(path)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of old pickle protocols, which load well
            # A file that is no zip is of PyTorch's old format, which cannot be mapped.
            mmap = zipfile.is_zipfile(path)
            if mmap:
                check_archive(path)
            else:
                check_pickles(path)
            state = torch.load(path, map_location="cpu", weights_only=True, mmap=mmap)
    except CheckpointError:
        raise
    except pickle.UnpicklingError:
        raise CheckpointError(
            "refused: it is not a plain file of tensors, and nothing else is unpickled"
        ) from None
    except Exception as e:  # torch.load raises whatever its parser met
        text = str(e)[:SHOWN]
        raise CheckpointError(f"not a PyTorch checkpoint ({type(e).__name__}: {text})") from None
    if not isinstance(state, Mapping) or not all(isinstance(v, Tensor) for v in state.values()):
        holds = ", ".join(map(str, state)) if isinstance(state, Mapping) else type(state).__name__
        raise CheckpointError(f"not a state dict of tensors (it holds: {holds[:200]})")
    _check_sizes(state, path.stat().st_size)
    return dict(state), {}


def _check_sizes(state: Mapping[str, Tensor], file_bytes: int) -> None:
    """Tensors hold what the file does: a view may repeat one number a billion times.

    Raises:
        CheckpointError: names the tensor.
    """
    total = 0
    for key, tensor in state.items():
        name = str(key)[:SHOWN]
        if tensor.layout != torch.strided or tensor.is_quantized or tensor.device.type != "cpu":
            raise CheckpointError(f"tensor {name!r} is not a plain array of numbers")
        size = tensor.numel() * tensor.element_size()
        total += size
        if size > file_bytes or total > SHARED * file_bytes:
            raise CheckpointError(
                f"its tensors up to {name!r} (of shape {tuple(tensor.shape)}) would take {total} "
                f"bytes, and the file has {file_bytes}; save copies of them (tensor.clone())"
            )


def _read_safetensors(path: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    try:
        with safe_open(str(path), framework="pt") as f:
            told = json.loads((f.metadata() or {}).get(METADATA_KEY, "{}"))
            if not isinstance(told, dict) or not told.keys() <= set(UNTOLD):
                raise CheckpointError(f"its metadata {METADATA_KEY!r} is not this project's")
            return {key: f.get_tensor(key) for key in f.keys()}, told  # noqa: SIM118
    except FAULTS as e:
        raise CheckpointError(f"not a safetensors file ({str(e)[:SHOWN]})") from None
