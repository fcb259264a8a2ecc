"""What the speed benchmarks share: networks, timing side by side, and their JSON files."""

from __future__ import annotations

import argparse
import json
import platform
import time
from collections.abc import Callable
from pathlib import Path

import torch

from diffpir import builtin_path, load_model
from diffpir.networks.unet import UNet, UNetConfig
from diffpir.training.trainer import small_net

# The network that the paper used for faces, 93.6 M parameters; its speed is not its weights'.
FFHQ = UNetConfig(
    out_channels=6,
    model_channels=128,
    level_channels=(128, 128, 256, 256, 512, 512),
    num_res_blocks=1,
    attention_levels=(4,),
    resblock_updown=True,
)
NETWORKS = ("ffhq", "builtin", "small")


def network(name: str) -> UNet:
    """``builtin``, or one with random weights: ``ffhq``, or the shape of ``builtin``, ``small``."""
    if name == "builtin":
        return load_model(builtin_path())
    torch.manual_seed(0)
    net = UNet(FFHQ if name == "ffhq" else small_net())
    return net.requires_grad_(False).eval()


def device() -> torch.device:
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def best(functions: dict[str, Callable[[], object]], repeats: int = 5) -> dict[str, float]:
    """The least seconds of each, called in turn, so that a noisy machine is unfair to none."""
    seconds = {name: float("inf") for name in functions}
    for function in functions.values():  # what a first call sets up is not measured
        function()
    for _ in range(repeats):
        for name, function in functions.items():
            synchronize()
            began = time.perf_counter()
            function()
            synchronize()
            seconds[name] = min(seconds[name], time.perf_counter() - began)
    return seconds


def synchronize() -> None:
    if torch.cuda.is_available():
        torch.cuda.synchronize()


def machine() -> dict:
    """What the figures depend on."""
    cpu = next(
        (
            line.split(":")[1].strip()
            for line in Path("/proc/cpuinfo").read_text().splitlines()
            if line.startswith("model name")
        ),
        platform.processor(),
    )
    return {
        "cpu": cpu,
        "cpu_flags": [
            name.removeprefix("_is_").removesuffix("_supported")
            for name in ("_is_avx512_bf16_supported", "_is_amx_tile_supported")
            if getattr(torch.cpu, name, lambda: False)()
        ],
        "threads": torch.get_num_threads(),
        "gpu": torch.cuda.get_device_name() if torch.cuda.is_available() else None,
        "torch": torch.__version__,
    }


def parser(description: str) -> argparse.ArgumentParser:
    """With the option that all speed benchmarks have."""
    made = argparse.ArgumentParser(description=description.splitlines()[0])
    made.add_argument("--json", type=Path, help="also write the figures to this file")
    return made


def write(path: Path | None, figures: dict) -> None:
    if path:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps({"machine": machine(), **figures}, indent=1) + "\n")
