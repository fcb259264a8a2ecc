"""The U-Net of OpenAI's guided-diffusion (Dhariwal & Nichol 2021), with its state-dict keys."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from diffpir.errors import ConfigError

GROUPS = 32  # of every group norm in guided-diffusion


@dataclass(frozen=True, kw_only=True)
class UNetConfig:
    """Everything that shapes the network.

    Attributes:
        in_channels: channels of the input image, C.
        out_channels: C for a noise prediction, 2 C when a variance is predicted beside it.
        model_channels: width that the timestep embedding is built from.
        level_channels: width of each resolution level, finest first.
        num_res_blocks: residual blocks per level (one more on the way up).
        attention_levels: indices into ``level_channels`` whose blocks are followed by attention.
        num_head_channels: width of an attention head.
        num_heads: number of heads, where given instead of a width.
        use_new_attention_order: split q, k, v before the heads (OpenAI's option of this name).
        resblock_updown: resample inside residual blocks rather than by strided convolutions.
        use_scale_shift_norm: the timestep scales and shifts the norm (FiLM) instead of adding.
        num_classes: rows of the label embedding; 0 for an unconditional network.
        norm_groups, norm_eps: of every group norm.
        freq_shift: what the frequencies of the timestep embedding are one less than: the last of
            them is 1 / 10,000 where it is 1.
        asymmetric_downsampling: strided convolutions have one row and column of zeros at the bottom
            and right alone, as in the original DDPM.

    Raises:
        ConfigError: a setting of the norms or the embedding is out of its range.
    """

    in_channels: int = 3
    out_channels: int = 3
    model_channels: int
    level_channels: tuple[int, ...]
    num_res_blocks: int
    attention_levels: tuple[int, ...] = ()
    num_head_channels: int = 64
    num_heads: int | None = None
    use_new_attention_order: bool = False
    resblock_updown: bool = False
    use_scale_shift_norm: bool = True
    num_classes: int = 0
    norm_groups: int = GROUPS
    norm_eps: float = 1e-5
    freq_shift: float = 0.0
    asymmetric_downsampling: bool = False

    def __post_init__(self) -> None:
        if not 0 < self.norm_eps < 1 or self.norm_groups < 1:
            raise ConfigError(
                f"expected norm_groups of 1 or more and norm_eps from 0 to 1, got "
                f"{self.norm_groups} and {self.norm_eps}"
            )
        if not 0 <= self.freq_shift <= 1:
            raise ConfigError(f"freq_shift must be from 0 to 1, got {self.freq_shift}")

    def norm(self, ch: int) -> nn.GroupNorm:
        return nn.GroupNorm(self.norm_groups, ch, self.norm_eps)

    @property
    def stride(self) -> int:
        """Height and width of an input must be multiples of this."""
        return 1 << (len(self.level_channels) - 1)


class UNet(nn.Module):
    """``forward(x, t, label=None)``: x (B, C, H, W) on the [-1, 1] scale, t (B,) in 0 ... T - 1.

    A ``t`` (and label) of shape (1,) stands for that of every image, and saves work.

    Returns (B, out_channels, H, W): the predicted noise, then (learned sigma) variance logits.
    """

    fused = False  # see diffpir.networks.fused

    def __init__(self, config: UNetConfig):
        super().__init__()
        self.config = config
        width, emb = config.model_channels, 4 * config.model_channels
        self.time_embed = nn.Sequential(nn.Linear(width, emb), nn.SiLU(), nn.Linear(emb, emb))
        if config.num_classes:
            self.label_emb = nn.Embedding(config.num_classes, emb)

        last = len(config.level_channels) - 1
        ch = config.level_channels[0]
        self.input_blocks = nn.ModuleList([Block(nn.Conv2d(config.in_channels, ch, 3, padding=1))])
        skips = [ch]
        for level, out_ch in enumerate(config.level_channels):
            for _ in range(config.num_res_blocks):
                layers: list[nn.Module] = [ResBlock(config, ch, out_ch)]
                ch = out_ch
                if level in config.attention_levels:
                    layers.append(Attention(config, ch))
                self.input_blocks.append(Block(*layers))
                skips.append(ch)
            if level != last:
                down = (
                    ResBlock(config, ch, ch, resample="down")
                    if config.resblock_updown
                    else Downsample(config, ch)
                )
                self.input_blocks.append(Block(down))
                skips.append(ch)

        self.middle_block = Block(
            ResBlock(config, ch, ch), Attention(config, ch), ResBlock(config, ch, ch)
        )

        self.output_blocks = nn.ModuleList()
        for level in range(last, -1, -1):
            out_ch = config.level_channels[level]
            for i in range(config.num_res_blocks + 1):
                layers = [ResBlock(config, ch + skips.pop(), out_ch)]
                ch = out_ch
                if level in config.attention_levels:
                    layers.append(Attention(config, ch))
                if level and i == config.num_res_blocks:
                    layers.append(
                        ResBlock(config, ch, ch, resample="up")
                        if config.resblock_updown
                        else Upsample(ch)
                    )
                self.output_blocks.append(Block(*layers))

        self.out = nn.Sequential(
            config.norm(ch),
            nn.SiLU(),
            nn.Conv2d(ch, config.out_channels, 3, padding=1),
        )

    @property
    def dtype(self) -> torch.dtype:
        """Of the weights, but for the last norm's and convolution's (``place``)."""
        return self._weight.dtype

    @property
    def device(self) -> torch.device:
        return self._weight.device

    @property
    def _weight(self) -> Tensor:
        first = self.time_embed[0]
        assert isinstance(first, nn.Linear)
        return first.weight

    def forward(self, x: Tensor, t: Tensor, label: Tensor | None = None) -> Tensor:
        if (label is None) == bool(self.config.num_classes):
            raise ValueError("a label is needed by, and only by, a class-conditional network")
        emb = timestep_embedding(t, self.config.model_channels, self.config.freq_shift)
        emb = self.time_embed(emb.to(self.dtype))
        if label is not None:
            emb = emb + self.label_emb(label)
        skips = []
        for block in self.input_blocks:
            x = block(x, emb)
            skips.append(x)
        x = self.middle_block(x, emb)
        for block in self.output_blocks:
            x = block(self.join(x, skips.pop()), emb)
        return self.head(x)

    def join(self, x: Tensor, skip: Tensor) -> Tensor:
        return torch.cat([x, skip], dim=1)

    def head(self, x: Tensor) -> Tensor:
        norm, conv = norm_and_conv(self.out)
        out: Tensor = conv(silu(norm(x.to(norm.weight.dtype))))
        return out


class Block(nn.ModuleList):
    """A sequence that hands the timestep embedding to the layers that take it."""

    def __init__(self, *layers: nn.Module):
        super().__init__(layers)

    def forward(self, x: Tensor, emb: Tensor) -> Tensor:
        for layer in self:
            x = layer(x, emb) if isinstance(layer, ResBlock) else layer(x)
        return x


class ResBlock(nn.Module):
    def __init__(self, config: UNetConfig, ch: int, out_ch: int, resample: str | None = None):
        super().__init__()
        self.resample = resample
        self.scale_shift = config.use_scale_shift_norm
        self.in_layers = nn.Sequential(
            config.norm(ch), nn.SiLU(), nn.Conv2d(ch, out_ch, 3, padding=1)
        )
        self.emb_layers = nn.Sequential(
            nn.SiLU(),
            nn.Linear(4 * config.model_channels, out_ch * (2 if self.scale_shift else 1)),
        )
        # The identity stands where the original has dropout, so that the keys agree.
        self.out_layers = nn.Sequential(
            config.norm(out_ch),
            nn.SiLU(),
            nn.Identity(),
            nn.Conv2d(out_ch, out_ch, 3, padding=1),
        )
        self.skip_connection = nn.Identity() if ch == out_ch else nn.Conv2d(ch, out_ch, 1)

    def forward(self, x: Tensor, emb: Tensor) -> Tensor:
        norm, conv = norm_and_conv(self.in_layers)
        h = silu(norm(x))
        if self.resample == "down":
            h, x = F.avg_pool2d(h, 2), F.avg_pool2d(x, 2)
        elif self.resample == "up":
            h, x = F.interpolate(h, scale_factor=2), F.interpolate(x, scale_factor=2)
        h = conv(h)
        emb = self.emb_layers(emb)[:, :, None, None]
        norm, conv = norm_and_conv(self.out_layers)
        if not self.scale_shift:
            h = norm(h + emb)
        elif len(emb) == 1:  # the same for all images: the norm's own affine map takes it in
            scale, shift = emb.flatten().chunk(2)
            weight = norm.weight * (1 + scale)
            shift = norm.bias * (1 + scale) + shift
            h = F.group_norm(h, norm.num_groups, weight, shift, norm.eps)
        else:
            scale, shift = emb.chunk(2, dim=1)
            h = torch.addcmul(shift, norm(h), 1 + scale)
        out: Tensor = conv(silu(h))
        return out.add_(self.skip_connection(x))


class Downsample(nn.Module):
    def __init__(self, config: UNetConfig, ch: int):
        super().__init__()
        self.asymmetric = config.asymmetric_downsampling
        self.op = nn.Conv2d(ch, ch, 3, stride=2, padding=0 if self.asymmetric else 1)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.op(F.pad(x, (0, 1, 0, 1)) if self.asymmetric else x)
        return out


class Upsample(nn.Module):
    def __init__(self, ch: int):
        super().__init__()
        self.conv = nn.Conv2d(ch, ch, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.conv(F.interpolate(x, scale_factor=2))
        return out


class Attention(nn.Module):
    """Self-attention over all pixels; q, k and v by one 1 x 1 convolution."""

    def __init__(self, config: UNetConfig, ch: int):
        super().__init__()
        self.heads = config.num_heads or ch // config.num_head_channels
        if self.heads < 1 or ch % self.heads:
            raise ValueError(
                f"{ch} channels cannot be split into attention heads "
                f"(num_heads={config.num_heads}, num_head_channels={config.num_head_channels})"
            )
        if config.num_heads is None and ch % config.num_head_channels:
            raise ValueError(
                f"{ch} channels are no multiple of num_head_channels={config.num_head_channels}"
            )
        self.new_order = config.use_new_attention_order
        self.norm = config.norm(ch)
        self.qkv = nn.Conv1d(ch, 3 * ch, 1)
        self.proj_out = nn.Conv1d(ch, ch, 1)

    def forward(self, x: Tensor) -> Tensor:
        b, c, height, width = x.shape
        tokens = x.reshape(b, c, height * width)
        qkv = self.qkv(self.norm(tokens))
        if self.new_order:
            qkv = qkv.reshape(b, 3, self.heads, c // self.heads, -1)
        else:
            qkv = qkv.reshape(b, self.heads, 3, c // self.heads, -1).transpose(1, 2)
        # Each (B, heads, pixels, head width), laid out so: other strides would send a CPU to the
        # implementation that holds all pixels x pixels weights.
        q, k, v = qkv.transpose(-1, -2).contiguous().unbind(1)
        h = F.scaled_dot_product_attention(q, k, v).transpose(-1, -2).reshape(b, c, -1)
        # Added to x as it came, for its layout: tokens of a single image, seen as an image again,
        # have a layout that convolutions do not take for channels-last.
        added: Tensor = self.proj_out(h)
        return x + added.reshape(x.shape)


def norm_and_conv(layers: nn.Sequential) -> tuple[nn.GroupNorm, nn.Conv2d]:
    """The first and the last of layers that begin with a norm and end with a convolution."""
    norm, *_, conv = layers
    assert isinstance(norm, nn.GroupNorm) and isinstance(conv, nn.Conv2d)
    return norm, conv


def silu(h: Tensor) -> Tensor:
    """Of a tensor that is used nowhere else: without gradients to keep, in its own memory."""
    return F.silu(h, inplace=not torch.is_grad_enabled())


def timestep_embedding(
    t: Tensor, dim: int, freq_shift: float = 0.0, max_period: float = 10_000.0
) -> Tensor:
    """Sinusoids of ``t`` (B,): cosines then sines, shape (B, dim), float32."""
    half = dim // 2
    places = torch.arange(half, dtype=torch.float32, device=t.device)
    freqs = torch.exp(places * (-math.log(max_period) / (half - freq_shift)))
    args = t.float()[:, None] * freqs
    emb = torch.cat([args.cos(), args.sin()], dim=1)
    return F.pad(emb, (0, dim % 2))
