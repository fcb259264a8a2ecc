"""What stands between convolutions, on a GPU: each in one pass over channels-last memory.

PyTorch reads and writes a feature map about ten times between two convolutions (the bias, group
norm, scale and shift, SiLU, resampling, the sum), and its group norm is slow for channels last,
which the convolutions of half precision want. Here it is read twice and written once. Statistics
and sums are in float32; only what a convolution is given is rounded.
"""

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor, nn

TILE = 4096  # values that a program holds at a time
CHUNKS = 128  # parts of an image whose statistics are taken apart; a power of 2
RESAMPLE = {None: 0, "up": 1, "down": 2}  # as the kernels are told it


def norm_silu(
    x: Tensor,
    norm: nn.GroupNorm,
    *,
    bias: Tensor | None = None,
    scale_shift: Tensor | None = None,
    resample: str | None = None,
) -> Tensor:
    """``silu(norm(x + bias) * (1 + scale) + shift)``, resampled, in the type of the norm's weights.

    Args:
        x: (B, C, H, W), channels last.
        norm: of any number of groups.
        bias: (1, C) or (B, C).
        scale_shift: (1, 2 C) or (B, 2 C), the scale first.
        resample: ``"up"``: every pixel four times; ``"down"``: the mean of every four.
    """
    x = _channels_last(x)
    batch, channels, height, width = x.shape
    rows = height * width
    lanes, tile = _tile(channels)
    chunk = triton.cdiv(triton.cdiv(rows, tile), CHUNKS) * tile  # whole tiles
    chunks = triton.cdiv(rows, chunk)
    parts = x.new_empty((batch, chunks, 2, channels), dtype=torch.float32)
    _statistics[(channels // lanes, chunks, batch)](x, parts, rows, chunk, channels, tile, lanes)
    affine = x.new_empty((batch, 2, channels), dtype=torch.float32)
    groups = norm.num_groups
    width_of_group = channels // groups
    _affine[(groups, batch)](
        parts,
        norm.weight,
        norm.bias,
        bias,
        0 if bias is None or len(bias) == 1 else channels,
        scale_shift,
        0 if scale_shift is None or len(scale_shift) == 1 else 2 * channels,
        affine,
        rows,
        chunk,
        chunks,
        channels,
        norm.eps,
        width_of_group,
        triton.next_power_of_2(width_of_group),
        CHUNKS,
        bias is not None,
        scale_shift is not None,
    )
    out = _empty(x, resample, norm.weight.dtype)
    return _apply(x, affine, out, resample)


def enlarged(x: Tensor) -> Tensor:
    """(B, C, H, W), channels last, with every pixel four times: (B, C, 2 H, 2 W)."""
    return _apply(_channels_last(x), None, _empty(x, "up", x.dtype), "up")


def add(h: Tensor, bias: Tensor, x: Tensor, *, resample: str | None = None) -> Tensor:
    """``h + bias + x``, in the memory of ``h``: (B, C, H, W), channels last; bias (C,).

    ``x`` is resampled to the size of ``h`` as in :func:`norm_silu`.

    Raises:
        ValueError: it has another size then.
    """
    h, x = _channels_last(h), _channels_last(x)
    if _resampled(x, resample) != h.shape:
        raise ValueError(f"{tuple(x.shape)} cannot be added to {tuple(h.shape)}")
    batch, channels, height, width = h.shape
    lanes, tile = _tile(channels)
    rows = height * width
    grid = (channels // lanes * triton.cdiv(rows, tile), batch)
    _add[grid](h, bias, x, rows, width, channels, RESAMPLE[resample], tile, lanes)
    return h


def concatenate(x: Tensor, y: Tensor) -> Tensor:
    """Along the channels: (B, C1, H, W) and (B, C2, H, W), both channels last.

    Raises:
        ValueError: they differ in more than their channels.
    """
    x, y = _channels_last(x), _channels_last(y)
    if x.shape[0] != y.shape[0] or x.shape[2:] != y.shape[2:] or x.dtype != y.dtype:
        raise ValueError(f"{tuple(x.shape)} and {tuple(y.shape)} cannot be joined")
    batch, first, height, width = x.shape
    second = y.shape[1]
    lanes, tile = min(_tile(first), _tile(second))
    out = x.new_empty((batch, height, width, first + second)).permute(0, 3, 1, 2)
    rows = batch * height * width
    grid = ((first + second) // lanes * triton.cdiv(rows, tile),)
    _concatenate[grid](x, y, out, rows, first, second, tile, lanes)
    return out


def _channels_last(x: Tensor) -> Tensor:
    """As the kernels, which are told no strides, take it for granted."""
    return x.contiguous(memory_format=torch.channels_last)


def _tile(channels: int) -> tuple[int, int]:
    """Channels and pixels that a program works on; the channels are a divisor of all."""
    lanes = min(128, channels & -channels)
    return lanes, TILE // lanes


def _resampled(x: Tensor, resample: str | None) -> tuple[int, int, int, int]:
    batch, channels, height, width = x.shape
    if resample == "up":
        height, width = 2 * height, 2 * width
    elif resample == "down":
        height, width = height // 2, width // 2
    return batch, channels, height, width


def _empty(x: Tensor, resample: str | None, dtype: torch.dtype) -> Tensor:
    batch, channels, height, width = _resampled(x, resample)
    # Said by its strides: a single row or channel would leave the layout open.
    return x.new_empty((batch, height, width, channels), dtype=dtype).permute(0, 3, 1, 2)


def _apply(x: Tensor, affine: Tensor | None, out: Tensor, resample: str | None) -> Tensor:
    batch, channels, height, width = (out if resample == "down" else x).shape
    lanes, tile = _tile(channels)
    rows = height * width
    grid = (channels // lanes * triton.cdiv(rows, tile), batch)
    _normalize[grid](
        x, affine, out, rows, width, channels, affine is not None, RESAMPLE[resample], tile, lanes
    )
    return out


@triton.jit(do_not_specialize=["rows", "chunk"])
def _statistics(x, parts, rows, chunk, channels, ROWS: tl.constexpr, LANES: tl.constexpr):
    """Mean and sum of squared deviations of each channel in each chunk of each image."""
    c = tl.program_id(0) * LANES + tl.arange(0, LANES)
    image = tl.program_id(2).to(tl.int64)
    first = tl.program_id(1) * chunk
    last = tl.minimum(first + chunk, rows)
    row = tl.arange(0, ROWS)
    x += (image * rows + first) * channels
    # Deviations from a value of the chunk: the plain sum of squares would lose a small variance.
    origin = tl.load(x + c).to(tl.float32)
    total = tl.zeros((ROWS, LANES), tl.float32)
    squares = tl.zeros((ROWS, LANES), tl.float32)
    for start in range(first, last, ROWS):
        inside = (start + row < last)[:, None]
        values = tl.load(x + row[:, None] * channels + c[None, :], mask=inside, other=0.0)
        d = tl.where(inside, values.to(tl.float32) - origin[None, :], 0.0)
        total += d
        squares += d * d
        x += ROWS * channels
    total_c = tl.sum(total, 0)
    count = (last - first).to(tl.float32)
    parts += ((image * tl.num_programs(1) + tl.program_id(1)) * 2) * channels + c
    tl.store(parts, origin + total_c / count)
    tl.store(parts + channels, tl.sum(squares, 0) - total_c * total_c / count)


@triton.jit(do_not_specialize=["rows", "chunk", "chunks", "bias_stride", "film_stride"])
def _affine(
    parts,
    weight,
    shift,
    bias,
    bias_stride,
    film,
    film_stride,
    affine,
    rows,
    chunk,
    chunks,
    channels,
    eps,
    GROUP: tl.constexpr,
    LANES: tl.constexpr,
    PARTS: tl.constexpr,
    BIAS: tl.constexpr,
    FILM: tl.constexpr,
):
    """What norm, bias, scale and shift come to for each channel of each image: a x + b."""
    image = tl.program_id(1).to(tl.int64)
    lane = tl.arange(0, LANES)
    c = tl.program_id(0) * GROUP + lane
    real = lane < GROUP
    part = tl.arange(0, PARTS)
    there = (part < chunks)[:, None] & real[None, :]
    parts += (image * chunks + part[:, None]) * 2 * channels + c[None, :]
    mean = tl.load(parts, mask=there, other=0.0)
    deviations = tl.load(parts + channels, mask=there, other=0.0)
    if BIAS:
        offset = tl.load(bias + image * bias_stride + c, mask=real, other=0.0).to(tl.float32)
        mean += offset[None, :]
    count = tl.minimum(rows - part * chunk, chunk).to(tl.float32)[:, None]
    size = tl.cast(rows * GROUP, tl.float32)
    of_group = tl.sum(tl.where(there, mean * count, 0.0)) / size
    d = mean - of_group
    variance = tl.sum(tl.where(there, deviations + count * d * d, 0.0)) / size
    a = tl.load(weight + c, mask=real, other=0.0).to(tl.float32) / tl.sqrt(variance + eps)
    b = tl.load(shift + c, mask=real, other=0.0).to(tl.float32) - of_group * a
    if BIAS:
        b += offset * a
    if FILM:
        film += image * film_stride + c
        gain = 1 + tl.load(film, mask=real, other=0.0).to(tl.float32)
        a *= gain
        b = b * gain + tl.load(film + channels, mask=real, other=0.0).to(tl.float32)
    affine += image * 2 * channels + c
    tl.store(affine, a, mask=real)
    tl.store(affine + channels, b, mask=real)


@triton.jit
def _place(channels, ROWS: tl.constexpr, LANES: tl.constexpr):
    """The pixels and channels of a program; the first axis of a grid alone may be long."""
    across = channels // LANES
    row = tl.program_id(0) // across * ROWS + tl.arange(0, ROWS)
    return row, tl.program_id(0) % across * LANES + tl.arange(0, LANES)


@triton.jit
def _activated(values, a, b, AFFINE: tl.constexpr):
    values = values.to(tl.float32)
    if AFFINE:
        values = values * a[None, :] + b[None, :]
        values = values / (1 + tl.exp(tl.minimum(-values, 88.0)))
    return values


@triton.jit
def _mean_of_four(x, channels, down, inside, a, b, AFFINE: tl.constexpr):
    """Of a pixel and those right of it, below, and both; ``down`` is the step to the next row."""
    v = _activated(tl.load(x, mask=inside, other=0.0), a, b, AFFINE)
    v += _activated(tl.load(x + channels, mask=inside, other=0.0), a, b, AFFINE)
    v += _activated(tl.load(x + down, mask=inside, other=0.0), a, b, AFFINE)
    v += _activated(tl.load(x + down + channels, mask=inside, other=0.0), a, b, AFFINE)
    return v * 0.25


@triton.jit(do_not_specialize=["rows", "width"])
def _normalize(
    x,
    affine,
    out,
    rows,
    width,
    channels,
    AFFINE: tl.constexpr,
    RESAMPLE: tl.constexpr,
    ROWS: tl.constexpr,
    LANES: tl.constexpr,
):
    """``silu(a x + b)``; rows and width are those of the smaller image."""
    row, c = _place(channels, ROWS, LANES)
    image = tl.program_id(1).to(tl.int64)
    inside = (row < rows)[:, None]
    here = row.to(tl.int64)[:, None] * channels + c[None, :]
    a, b = 0.0, 0.0
    if AFFINE:
        affine += image * 2 * channels + c
        a, b = tl.load(affine), tl.load(affine + channels)
    if RESAMPLE == 0:
        first = image * rows * channels
        values = _activated(tl.load(x + first + here, mask=inside, other=0.0), a, b, AFFINE)
        tl.store(out + first + here, values, mask=inside)
    else:
        # In the larger image, the upper left of a pixel's four, and the step to the next row.
        four = (2 * row - row % width).to(tl.int64) * 2
        four = image * 4 * rows * channels + four[:, None] * channels + c[None, :]
        down = 2 * width * channels
        small = image * rows * channels + here
        if RESAMPLE == 1:
            values = _activated(tl.load(x + small, mask=inside, other=0.0), a, b, AFFINE)
            tl.store(out + four, values, mask=inside)
            tl.store(out + four + channels, values, mask=inside)
            tl.store(out + four + down, values, mask=inside)
            tl.store(out + four + down + channels, values, mask=inside)
        else:
            values = _mean_of_four(x + four, channels, down, inside, a, b, AFFINE)
            tl.store(out + small, values, mask=inside)


@triton.jit(do_not_specialize=["rows", "width"])
def _add(
    h,
    bias,
    x,
    rows,
    width,
    channels,
    RESAMPLE: tl.constexpr,
    ROWS: tl.constexpr,
    LANES: tl.constexpr,
):
    """``h + bias + x``; rows and width are those of h."""
    row, c = _place(channels, ROWS, LANES)
    image = tl.program_id(1).to(tl.int64)
    inside = (row < rows)[:, None]
    h += image * rows * channels + row.to(tl.int64)[:, None] * channels + c[None, :]
    if RESAMPLE == 0:
        x += image * rows * channels + row.to(tl.int64)[:, None] * channels + c[None, :]
        v = tl.load(x, mask=inside, other=0.0).to(tl.float32)
    elif RESAMPLE == 1:
        small = (row // width // 2) * (width // 2) + row % width // 2
        x += image * (rows // 4) * channels + small.to(tl.int64)[:, None] * channels + c[None, :]
        v = tl.load(x, mask=inside, other=0.0).to(tl.float32)
    else:
        four = (2 * row - row % width).to(tl.int64) * 2
        x += image * 4 * rows * channels + four[:, None] * channels + c[None, :]
        down = 2 * width * channels
        v = _mean_of_four(x, channels, down, inside, 0.0, 0.0, False)
    v += tl.load(h, mask=inside, other=0.0).to(tl.float32)
    tl.store(h, v + tl.load(bias + c).to(tl.float32)[None, :], mask=inside)


@triton.jit(do_not_specialize=["rows"])
def _concatenate(x, y, out, rows, first, second, ROWS: tl.constexpr, LANES: tl.constexpr):
    row, c = _place(first + second, ROWS, LANES)
    row, inside = row.to(tl.int64), (row < rows)[:, None]
    if tl.min(c) < first:
        values = tl.load(x + row[:, None] * first + c[None, :], mask=inside)
    else:
        values = tl.load(y + row[:, None] * second + (c - first)[None, :], mask=inside)
    tl.store(out + row[:, None] * (first + second) + c[None, :], values, mask=inside)
