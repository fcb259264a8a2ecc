"""Reading the tensors of a file, however its trainer nested them; nothing in it is executed."""

from __future__ import annotations

import pickle
import warnings
import zipfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from diffpir.checkpoints.archive import check_archive, check_pickles
from diffpir.checkpoints.recognise import what_file_seems
from diffpir.errors import CheckpointError

SHOWN = 300  # characters of a file's own words in a message
SHARED = 4  # tensors of a file that may share their numbers, at most
MOST_ENTRIES = 200_000  # of a file; a large network and its optimiser have some 5,000
DEEPEST = 16  # nesting of a file
# ValueError: JSON's own, and a number of too many digits; RecursionError: too deep a nesting.
FAULTS = (SafetensorError, OSError, ValueError, RecursionError)


def read_entries(path: Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    """All tensors of a file by their place in it, and its metadata (``.safetensors`` has some).

    The place of a tensor in nested dictionaries and lists is their keys, joined by dots.

    Raises:
        CheckpointError: it holds no tensors, or cannot be read without running code; says what the
            file seems to be, without its name.
    """
    if not path.is_file():
        raise CheckpointError("no such file")
    try:
        if path.suffix == ".safetensors":
            return _read_safetensors(path)
        content = _read_pytorch(path)
    except CheckpointError as e:
        seems = what_file_seems(path)
        raise CheckpointError(f"{e}; it seems to be {seems}" if seems else str(e)) from None
    entries = dict(_tensors_in(content))
    if not entries:
        holds = ", ".join(map(str, content)) if isinstance(content, Mapping) else ""
        raise CheckpointError(
            f"it holds no tensors ({type(content).__name__} of: {holds[:SHOWN] or 'other things'})"
        )
    _check_sizes(entries, path.stat().st_size)
    return entries, {}


def read_tensors(path: str | Path) -> dict[str, Tensor]:
    """The tensors of a state dict's file, whatever network they are of.

    Raises:
        CheckpointError: it is no such file, with the reason.
    """
    return read_entries(Path(path))[0]


def _read_pytorch(path: Path) -> Any:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of old pickle protocols, which load well
            # A file that is no zip is of PyTorch's old format, which cannot be mapped.
            mmap = zipfile.is_zipfile(path)
            if mmap:
                check_archive(path)
            else:
                check_pickles(path)
            return torch.load(path, map_location="cpu", weights_only=True, mmap=mmap)
    except CheckpointError:
        raise
    except pickle.UnpicklingError:
        raise CheckpointError(
            "refused: it is not a plain file of tensors, and nothing else is unpickled"
        ) from None
    except Exception as e:  # torch.load raises whatever its parser met
        text = str(e)[:SHOWN]
        raise CheckpointError(f"not a PyTorch checkpoint ({type(e).__name__}: {text})") from None


def _read_safetensors(path: Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    try:
        with safe_open(str(path), framework="pt") as f:
            tensors = {key: f.get_tensor(key) for key in f.keys()}  # noqa: SIM118
            return tensors, f.metadata() or {}
    except FAULTS as e:
        raise CheckpointError(f"not a safetensors file ({str(e)[:SHOWN]})") from None


def _tensors_in(content: Any) -> Iterator[tuple[str, Tensor]]:
    """Place and tensor; a file may hold itself, and the same thing in many places."""
    visited = 0
    nested: list[tuple[str, Any, int]] = [("", content, 0)]
    while nested:
        place, value, depth = nested.pop()
        visited += 1
        if visited > MOST_ENTRIES or depth > DEEPEST:
            raise CheckpointError(
                f"refused: it holds more than {MOST_ENTRIES} values, or values nested more than "
                f"{DEEPEST} deep"
            )
        if isinstance(value, Tensor):
            yield place, value
        elif isinstance(value, Mapping | list | tuple):
            items = value.items() if isinstance(value, Mapping) else enumerate(value)
            inner = [(f"{place}.{key}" if place else str(key), v, depth + 1) for key, v in items]
            nested.extend(reversed(inner))


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
