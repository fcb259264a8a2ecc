"""The training loop: noise prediction (Ho et al. 2020, eq. 14), AdamW, EMA, cosine decay."""

from __future__ import annotations

import json
import math
import os
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader

from diffpir.checkpoints.checkpoint import save_model
from diffpir.errors import ConfigError
from diffpir.networks.diffusion import Diffusion
from diffpir.networks.precision import has_bf16
from diffpir.networks.unet import Attention, ResBlock, UNet, UNetConfig
from diffpir.schedule import Schedule
from diffpir.training.crops import CropStream
from diffpir.training.validation import validate, validation_crops

NOISE_LEVELS = (0.1, 0.3, 1.0, 3.0)  # sigma_bar at which the logged loss is split
MOST_SEED = 2**32 - 1


@dataclass(frozen=True, kw_only=True)
class TrainConfig:
    """What a training run is made of.

    Attributes:
        steps: optimiser steps in all; the cosine schedule ends there.
        batch: crops per step.
        crop: side of a crop in pixels.
        lr: peak learning rate of AdamW.
        warmup: steps in which it is reached, but no more than a tenth of all.
        weight_decay: of AdamW.
        ema_decay: of the averaged weights, which are the ones exported.
        uniform: the share of timesteps drawn uniformly. The others follow EDM's noise levels,
            ln sigma ~ N(-1.2, 1.2^2) (Karras et al. 2022, table 1), which spends the training
            where a picture's content is decided, not where it is nearly all noise.
        max_weight: the squared error of the noise is weighted by 1 + sigma_bar_t^2, as a
            v-prediction's is (Salimans & Ho 2022), but by no more than this. Unweighted, the
            loss hardly sees what x0 becomes at high noise.
        seed: of the weights, crops, timesteps and noise, below 2^32.
        save_every: steps between checkpoints.

    Raises:
        ConfigError: a value is out of its range.
    """

    steps: int
    batch: int = 32
    crop: int = 64
    lr: float = 4e-4
    warmup: int = 100
    weight_decay: float = 0.01
    ema_decay: float = 0.998
    uniform: float = 0.25
    max_weight: float = 1000.0
    seed: int = 0
    save_every: int = 100

    def __post_init__(self) -> None:
        for name in ("steps", "batch", "crop", "save_every"):
            if getattr(self, name) < 1:
                raise ConfigError(f"{name} must be 1 or more, got {getattr(self, name)}")
        for name in ("lr", "warmup", "weight_decay"):
            if not 0 <= getattr(self, name) < math.inf:
                raise ConfigError(f"{name} must be 0 or more, got {getattr(self, name)}")
        for name, most in (("ema_decay", 1), ("uniform", 1), ("seed", MOST_SEED)):
            if not 0 <= getattr(self, name) <= most:
                raise ConfigError(f"{name} must be from 0 to {most}, got {getattr(self, name)}")
        if self.max_weight < 1:
            raise ConfigError(f"max_weight must be 1 or more, got {self.max_weight}")


def train(
    images: Sequence[np.ndarray],
    out: Path,
    net_config: UNetConfig,
    config: TrainConfig,
    *,
    initial: UNet | None = None,
    weights: Sequence[float] | None = None,
    validation: Sequence[np.ndarray] = (),
    diffusion: Diffusion | None = None,
    device: str = "cpu",
    progress: Callable[[dict[str, float]], None] | None = None,
) -> Path:
    """Train, or go on from ``out/state.pt`` if it is there; returns the exported model's path.

    A run begins with the weights of ``initial``, a network of ``net_config``, or with random ones.
    It is trained in ``diffusion``, the usual one if None, which the model's file tells.

    ``out`` receives ``state.pt`` (everything that resuming needs), ``log.jsonl`` (a line per 10
    steps: loss, loss by noise level, learning rate, seconds), with photographs for ``validation``
    also ``validation.jsonl`` (at each checkpoint, the PSNR of their crops denoised in one
    evaluation), and at the end ``model.safetensors``, the averaged weights in half precision.

    Raises:
        ConfigError: no images, a network that :func:`check_trainable` refuses, or ``state.pt`` is
            damaged, of another network, stream of crops, or later step.
        ValueError: an image is smaller than a crop.
    """
    if not len(images):
        raise ConfigError("no images to train on")
    check_trainable(net_config, config)
    diffusion = diffusion or Diffusion()
    schedule = diffusion.schedule
    if diffusion.prediction == "x0":
        raise ConfigError("a network that predicts the image itself (x0) cannot be trained here")
    torch.manual_seed(config.seed)
    net = initialise(UNet(net_config)).to(device)
    if initial is not None:
        net.load_state_dict(initial.state_dict())
    ema = UNet(net_config).to(device).requires_grad_(False)
    ema.load_state_dict(net.state_dict())
    optimizer = torch.optim.AdamW(net.parameters(), lr=config.lr, weight_decay=config.weight_decay)

    out.mkdir(parents=True, exist_ok=True)
    state_file = out / "state.pt"
    step = 0
    if state_file.exists():
        state = read_state(state_file, device)
        if state["diffusion"] != diffusion.plain:
            raise ConfigError(f"{state_file} holds a network of another diffusion")
        if state["net_config"] != asdict(net_config):
            raise ConfigError(f"{state_file} holds another network: {state['net_config']}")
        net.load_state_dict(state["net"])
        ema.load_state_dict(state["ema"])
        optimizer.load_state_dict(state["optimizer"])
        step = state["step"]
        for name in ("batch", "crop", "seed"):  # the stream of crops goes by these
            if state["config"][name] != getattr(config, name):
                raise ConfigError(
                    f"{state_file} was begun with {name}={state['config'][name]}, "
                    f"not {getattr(config, name)}"
                )
        if step > config.steps:
            raise ConfigError(f"{state_file} is at step {step} already, past {config.steps}")
        # What a killed run did after its last checkpoint is done again.
        for name in ("log.jsonl", "validation.jsonl"):
            keep_until(out / name, step)

    def save() -> None:
        partial = state_file.with_suffix(".partial")
        torch.save(
            {
                "net_config": asdict(net_config),
                "config": asdict(config),
                "diffusion": diffusion.plain,
                "net": net.state_dict(),
                "ema": ema.state_dict(),
                "optimizer": optimizer.state_dict(),
                "step": step,
            },
            partial,
        )
        os.replace(partial, state_file)

    crops = CropStream(
        images, weights, config.crop, config.seed, step * config.batch, config.steps * config.batch
    )
    loader = DataLoader(crops, batch_size=config.batch)
    alpha_bar = torch.as_tensor(schedule.alpha_bar, dtype=torch.float32, device=device)
    weight = torch.as_tensor(1 + schedule.sigma_bar**2, dtype=torch.float32, device=device)
    weight = weight.clamp(max=config.max_weight)
    bf16 = has_bf16(device)
    log = LossLog(schedule)
    kept = validation_crops(validation, config.crop).to(device) if len(validation) else None
    with (out / "log.jsonl").open("a") as log_file:
        for batch in loader:
            for group in optimizer.param_groups:
                group["lr"] = learning_rate(step, config)
            # The step's own generator: a resumed run draws what an unbroken one would.
            seed = config.seed * 1_000_003 + step
            g = torch.Generator().manual_seed(seed)
            t = draw_timesteps(schedule, len(batch), config.uniform, g).to(device)
            x0 = batch.to(device).float() / 127.5 - 1
            if x0.is_cuda:  # a CPU would take longer for it than the GPU for the step
                g = torch.Generator(device).manual_seed(seed)
            eps = torch.randn(x0.shape, generator=g, device=device)
            a = alpha_bar[t][:, None, None, None]
            x_t = a.sqrt() * x0 + (1 - a).sqrt() * eps
            with torch.autocast(torch.device(device).type, torch.bfloat16, enabled=bf16):
                predicted = net(x_t, diffusion.told(t))[:, : x_t.shape[1]]  # no variance
            predicted = predicted.float()
            if diffusion.prediction == "v":  # the noise that it means
                predicted = (1 - a).sqrt() * x_t + a.sqrt() * predicted
            loss = (predicted - eps).square().mean(dim=(1, 2, 3))
            optimizer.zero_grad(set_to_none=True)
            (weight[t] * loss).mean().backward()
            nn.utils.clip_grad_norm_(net.parameters(), 1.0)
            optimizer.step()
            step += 1
            update_average(ema, net, min(config.ema_decay, step / (step + 10)))
            log.add(t, loss.detach())
            if step % 10 == 0 or step == config.steps:
                entry = {"step": step, "lr": learning_rate(step - 1, config), **log.flush()}
                log_file.write(json.dumps(entry) + "\n")
                log_file.flush()
                if progress:
                    progress(entry)
            if step % config.save_every == 0 or step == config.steps:
                save()
                if kept is not None:
                    entry = {"step": step, **validate(ema, diffusion, kept)}
                    with (out / "validation.jsonl").open("a") as file:
                        file.write(json.dumps(entry) + "\n")
    return save_model(ema, out / "model.safetensors", torch.float16, diffusion=diffusion)


def check_trainable(net_config: UNetConfig, config: TrainConfig) -> None:
    """Refuse what cannot be trained on crops of pictures.

    Raises:
        ConfigError: the network is class-conditional, not of one or three channels (of which it
            predicts the noise, with or without its variance), or too narrow; or crops do not fit
            it.
    """
    if net_config.num_classes:
        raise ConfigError(
            "class-conditional networks, whose rows have labels, are not trained here"
        )
    channels = net_config.in_channels
    if channels not in (1, 3) or net_config.out_channels not in (channels, 2 * channels):
        raise ConfigError(
            f"a network of {channels} channels in and {net_config.out_channels} out cannot be "
            "trained here: expected 1 (grey) or 3 (colour) in, and as many out (or twice as many, "
            "with the variance)"
        )
    if config.crop % net_config.stride:
        raise ConfigError(f"crop={config.crop} must be a multiple of {net_config.stride}")
    groups = net_config.norm_groups
    if any(width % groups for width in net_config.level_channels):
        raise ConfigError(f"widths of {net_config.level_channels} must be multiples of {groups}")


def read_state(path: Path, device: str) -> dict[str, Any]:
    """What a run that is to go on had saved.

    Raises:
        ConfigError: the file is damaged, or of another program.
    """
    expected = {"net_config", "config", "diffusion", "net", "ema", "optimizer", "step"}
    try:
        state = torch.load(path, map_location=device, weights_only=True)
    except Exception as e:  # torch.load raises whatever its parser met
        why = str(e).splitlines()[0] if str(e) else type(e).__name__
        raise ConfigError(f"{path} is damaged: it cannot be read ({why})") from None
    if not isinstance(state, dict) or state.keys() != expected:
        raise ConfigError(f"{path} is not a state that this command saved: choose another folder")
    return state


def keep_until(log: Path, step: int) -> None:
    """Drop a log's entries of steps after this one, and a last one that was cut off.

    Whatever else stands there is the user's, and is kept.
    """
    if not log.is_file():
        return
    lines = log.read_bytes().splitlines(keepends=True)
    kept = [line for line in lines if not _is_after(line, step)]
    if kept and not kept[-1].endswith(b"\n"):
        kept[-1] += b"\n"  # the next entry begins a line
    if kept != lines:
        partial = log.with_name(f".{log.name}.partial")
        partial.write_bytes(b"".join(kept))
        os.replace(partial, log)


def _is_after(line: bytes, step: int) -> bool:
    """Whether a line of a log is an entry of a later step, or the beginning of one."""
    try:
        entry = json.loads(line)
    except (ValueError, RecursionError):
        return line.startswith(b"{") and not line.endswith(b"\n")
    found = entry.get("step") if isinstance(entry, dict) else None
    return isinstance(found, int) and found > step


def draw_timesteps(schedule: Schedule, count: int, uniform: float, g: torch.Generator) -> Tensor:
    """(count,) int64 timesteps to train on; ``uniform`` as in :class:`TrainConfig`."""
    everywhere = torch.randint(len(schedule), (count,), generator=g)
    sigma = torch.exp(-1.2 + 1.2 * torch.randn(count, generator=g, dtype=torch.float64))
    # The first timestep that is at least this noisy; sigma_bar grows with t.
    t = torch.searchsorted(torch.as_tensor(schedule.sigma_bar), sigma)
    edm = t.clamp(max=len(schedule) - 1)
    return torch.where(torch.rand(count, generator=g) < uniform, everywhere, edm)


def initialise(net: UNet) -> UNet:
    """Start every residual branch and the output at zero, as guided-diffusion does."""
    for module in net.modules():
        if isinstance(module, ResBlock):
            _zero(module.out_layers[3])
        elif isinstance(module, Attention):
            _zero(module.proj_out)
    _zero(net.out[2])
    return net


def _zero(layer: nn.Module) -> None:
    for parameter in layer.parameters():
        nn.init.zeros_(parameter)


def learning_rate(step: int, config: TrainConfig) -> float:
    """Linear warm-up, then half a cosine down to zero at ``config.steps``."""
    warmup = min(config.warmup, config.steps // 10)
    if step < warmup:
        return config.lr * (step + 1) / warmup
    done = (step - warmup) / max(1, config.steps - warmup)
    return config.lr * 0.5 * (1 + math.cos(math.pi * min(1.0, done)))


@torch.no_grad()
def update_average(ema: nn.Module, net: nn.Module, decay: float) -> None:
    torch._foreach_lerp_(list(ema.parameters()), list(net.parameters()), 1 - decay)


class LossLog:
    """Means of the loss since the last flush, over all crops and by their noise level."""

    def __init__(self, schedule: Schedule):
        self.sigma = schedule.sigma_bar
        self.edges = (0.0, *NOISE_LEVELS, math.inf)
        self.reset()

    def reset(self) -> None:
        self.t: list[Tensor] = []
        self.loss: list[Tensor] = []
        self.since = time.perf_counter()

    def add(self, t: Tensor, loss: Tensor) -> None:
        self.t.append(t)
        self.loss.append(loss)

    def flush(self) -> dict[str, float]:
        sigma = self.sigma[torch.cat(self.t).cpu().numpy()]
        loss = torch.cat(self.loss).cpu().numpy()
        entry = {"loss": round(float(loss.mean()), 5)}
        for low, high in zip(self.edges, self.edges[1:], strict=False):
            inside = (sigma >= low) & (sigma < high)
            if inside.any():
                entry[f"loss_sigma_{low:g}_{high:g}"] = round(float(loss[inside].mean()), 5)
        entry["seconds"] = round(time.perf_counter() - self.since, 2)
        self.reset()
        return entry


def small_net(
    width: int = 32, multipliers: Sequence[int] = (1, 2, 3, 4), channels: int = 3
) -> UNetConfig:
    """The shape of the embedded prior: attention at the coarsest level, heads of 32.

    ``width`` is that of the finest level, ``channels`` are those of the pictures.
    """
    return replace(
        UNetConfig(
            in_channels=channels,
            out_channels=channels,
            model_channels=width,
            level_channels=tuple(width * m for m in multipliers),
            num_res_blocks=2,
        ),
        attention_levels=(len(multipliers) - 1,),
        num_head_channels=32,
    )
