"""What arithmetic the hardware does well: asked of it, not guessed."""

from __future__ import annotations

import torch


def has_bf16(device: str) -> bool:
    """Whether bfloat16 convolutions run on hardware instructions on this device."""
    if torch.device(device).type == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    asked = ("_is_avx512_bf16_supported", "_is_amx_tile_supported")
    return any(getattr(torch.cpu, name, lambda: False)() for name in asked)
