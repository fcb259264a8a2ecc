"""The files of a checkpoint: one file, or a folder as diffusers writes it."""

from __future__ import annotations

import json
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from diffpir.errors import CheckpointError

STEM = "diffusion_pytorch_model"
# The first that is there; half precision last, since it is rounded.
WEIGHTS = (
    f"{STEM}.safetensors",
    f"{STEM}.bin",
    f"{STEM}.fp16.safetensors",
    f"{STEM}.fp16.bin",
)
FOLDERS = ("unet", "unet_ema", "scheduler", "vae", "transformer", "text_encoder")
NETWORKS = ("unet_ema/", "", "unet/")  # where it lies; an average rather
CONFIG, SCHEDULER = "config.json", "scheduler_config.json"
MOST_JSON = 2**22  # bytes


@dataclass(frozen=True)
class Named:
    """The files of a diffusers folder, relative to it; None where there is none."""

    weights: str
    config: str
    scheduler: str | None

    @property
    def all(self) -> list[str]:
        return [file for file in (self.weights, self.config, self.scheduler) if file]


@dataclass(frozen=True)
class Files:
    """The files of a checkpoint on this machine.

    Attributes:
        weights: the tensors.
        config, scheduler: diffusers' ``config.json`` and ``scheduler_config.json``, if there.
    """

    weights: Path
    config: Path | None = None
    scheduler: Path | None = None


def choose(names: Collection[str]) -> Named:
    """The network's files among those of a folder, by their paths relative to it.

    Raises:
        CheckpointError: there is none, or it has no configuration.
    """
    for folder in NETWORKS:
        for name in WEIGHTS:
            if folder + name not in names:
                continue
            if folder + CONFIG not in names:
                raise CheckpointError(f"it has {folder}{name}, but no {folder}{CONFIG}")
            places = (f"scheduler/{SCHEDULER}", SCHEDULER)
            scheduler = next((place for place in places if place in names), None)
            return Named(folder + name, folder + CONFIG, scheduler)
    some = ", ".join(sorted(names)[:5]) or "nothing"
    what = "a folder without a diffusers network"
    if any(name.startswith(("transformer/", "text_encoder/", "vae/")) for name in names):
        what = "a folder of a pipeline on latents (Stable Diffusion, say): priors work on pixels"
    raise CheckpointError(f"{what}: expected {STEM}.safetensors or .bin (it has {some})")


def find_files(path: Path, config: Path | None = None, scheduler: Path | None = None) -> Files:
    """The files of a checkpoint.

    Args:
        path: of a folder, or of the file with the tensors; diffusers' configurations may lie
            beside the latter.
        config, scheduler: configurations that lie elsewhere.

    Raises:
        CheckpointError: the folder holds none; names it.
    """
    if path.is_dir():
        names = {
            f"{folder}/{file.name}" if folder else file.name
            for folder in ("", *FOLDERS)
            if (path / folder).is_dir()
            for file in (path / folder).iterdir()
        }
        try:
            named = choose(names)
        except CheckpointError as e:
            raise CheckpointError(f"{path}: {e}") from None
        found = path / named.scheduler if named.scheduler else None
        return Files(path / named.weights, config or path / named.config, scheduler or found)
    beside = config or path.parent / CONFIG
    if not (config or _is_of_diffusers(beside)):
        return Files(path, scheduler=scheduler)
    places = (beside.parent / SCHEDULER, beside.parent.parent / "scheduler" / SCHEDULER)
    found = next((place for place in places if place.is_file()), None)
    return Files(path, beside, scheduler or found)


def read_config(path: Path) -> dict[str, Any]:
    """A JSON file's keys and values.

    Raises:
        CheckpointError: it is none; names it.
    """
    try:
        if path.stat().st_size > MOST_JSON:
            raise ValueError(f"more than {MOST_JSON} bytes")
        content = json.loads(path.read_text())
    except (OSError, ValueError, RecursionError) as e:
        raise CheckpointError(f"{path}: not a configuration as JSON ({str(e)[:100]})") from None
    if not isinstance(content, dict):
        raise CheckpointError(f"{path}: expected keys and values")
    return content


def _is_of_diffusers(path: Path) -> bool:
    """Whether it is a network's configuration: files of other programs have that name too."""
    if not path.is_file():
        return False
    try:
        return str(read_config(path).get("_class_name", "")).startswith("UNet")
    except CheckpointError:
        return False
