"""What the network computes in: asked of the hardware, not guessed."""

from __future__ import annotations

import warnings
from typing import TypeVar

import torch

from diffpir.config import Precision
from diffpir.errors import ConfigError
from diffpir.networks.custom import CustomNet
from diffpir.networks.unet import UNet

SHAPES = 128  # that a process compiles a network for; PyTorch's usual limit is 8
Net = TypeVar("Net", bound=UNet | CustomNet)
DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}


def device_of(gpu: bool) -> torch.device:
    """The GPU if one is to be used and there is one, else the CPU.

    Args:
        gpu: whether to use one. An actor of a job that has no share of a GPU must not, although
            Ray does not hide the machine's GPUs from it.
    """
    return torch.device("cuda" if gpu and torch.cuda.is_available() else "cpu")


def has_bf16(device: str | torch.device) -> bool:
    """Whether bfloat16 convolutions run on hardware instructions on this device."""
    if torch.device(device).type == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    asked = ("_is_avx512_bf16_supported", "_is_amx_tile_supported")
    return any(getattr(torch.cpu, name, lambda: False)() for name in asked)


def dtype_of(precision: Precision, device: str | torch.device) -> torch.dtype:
    """What a network on that device computes in; ``auto`` is bf16 where the hardware has it.

    Raises:
        ConfigError: fp16 on a CPU, where it would be slower than fp32.
    """
    if precision == "fp16" and torch.device(device).type != "cuda":
        raise ConfigError("precision fp16 needs a GPU; on a CPU there are bf16 and fp32")
    if precision == "auto":
        precision = "bf16" if has_bf16(device) else "fp32"
    return DTYPES[precision]


def place(
    net: Net,
    device: str | torch.device = "cpu",
    precision: Precision = "auto",
    *,
    gradients: bool = False,
) -> Net:
    """``net`` itself, moved to the device and made fast there.

    The last norm and convolution stay in float32: at high noise their rounding would be multiplied
    by sigma_bar, and they are a thousandth of the work.

    In half precision on a GPU, what stands between the convolutions is fused
    (:mod:`diffpir.networks.fused`), unless ``gradients`` by the image are wanted, which those
    kernels do not have. That takes Triton and a C compiler with Python's headers; without, a
    warning says so. Such a network's GPU must be the current one when it is called, as
    :class:`EpsDenoiser` sees to.

    A network of the user's own keeps its weights in float32, and computes in that too unless
    another precision is asked for by its name; then by PyTorch's autocast.

    fp32 on a GPU is that of IEEE, not TF32, in all of this process from here on.

    Raises:
        ConfigError: as :func:`dtype_of`.
    """
    if isinstance(net, CustomNet) and precision == "auto":
        precision = "fp32"
    device, dtype = torch.device(device), dtype_of(precision, device)
    if device.type == "cuda" and dtype is torch.float32:
        torch.backends.cudnn.allow_tf32 = False  # PyTorch's usual choice has 10 bits for fractions
    if isinstance(net, CustomNet):
        net.autocast = None if dtype is torch.float32 else dtype
        return net.to(device)
    if net.fused:  # for another device, perhaps
        from diffpir.networks.fused import unfuse

        unfuse(net)
    for name, layers in net.named_children():
        layers.to(device, torch.float32 if name == "out" else dtype)
    if device.type == "cuda" and dtype is not torch.float32 and not gradients:
        try:
            from diffpir.networks.fused import fuse
            from diffpir.networks.triton_kernels import enlarged

            with torch.cuda.device(device):
                enlarged(torch.zeros(1, 32, 2, 2, dtype=dtype, device=device))
        except Exception as e:  # no Triton, or whatever its tool chain raises
            warnings.warn(
                f"the network takes twice its time without Triton ({_reason(e)})", stacklevel=2
            )
        else:
            fuse(net).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    return net


def layout_for(net: UNet | CustomNet) -> torch.memory_format:
    """Of what a network is given: what its convolutions and norms together are fastest with.

    A network of the user's own is given what PyTorch's code usually meets.

    A GPU's convolutions in half precision want channels last, but PyTorch's other kernels there
    lose more with it, group norm's above all (benchmarks/README.md).
    """
    usual = isinstance(net, CustomNet) or (net.device.type == "cuda" and not net.fused)
    return torch.contiguous_format if usual else torch.channels_last


def compiled(net: Net) -> Net:
    """``net`` itself, compiled for each size of image and of batch when it first comes.

    A process compiles up to :data:`SHAPES` of them; for more it computes as without.

    Raises:
        ConfigError: this machine cannot compile; found out here, not on the first image.
    """
    check_compiler(net.device)
    # CUDA graphs, replayed: the Python and the launches of a network of small layers cost nothing.
    mode = "reduce-overhead" if net.device.type == "cuda" else None
    limits = torch._dynamo.config
    limits.cache_size_limit = max(limits.cache_size_limit, SHAPES)  # its name before torch 2.7
    net.compile(mode=mode, dynamic=False)
    return net


def check_compiler(device: str | torch.device) -> None:
    """Compile next to nothing.

    Raises:
        ConfigError: this machine cannot.
    """
    try:
        torch.compile(torch.sin)(torch.zeros(8, device=device))
    except Exception as e:  # whatever the compiler's tool chain raises
        raise ConfigError(f"compile: this machine cannot ({_reason(e)})") from None


def _reason(error: Exception) -> str:
    """In two lines at most: compilers say in the first that they failed, in the second why."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return f"{type(error).__name__}: {' '.join(lines[:2])}"
