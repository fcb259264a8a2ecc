"""One evaluation of the network: per precision and layout, against fp32 and the machine's rates.

    python benchmarks/unet.py [--network ffhq] [--batch 1] [--side 256] [--compile] [--json FILE]

The rates are of a square matrix product and of the 3 x 3 convolutions that the network consists of
at its finest and its middle level, each alone; so the last column says how near the whole network
comes to what the hardware gives to convolutions. On a GPU the fp32 module is as PyTorch has it,
with convolutions in TF32; `fp32` elsewhere is without.
"""

from __future__ import annotations

from collections.abc import Callable
from copy import deepcopy

import torch
from timing import NETWORKS, best, device, network, parser, synchronize, write
from torch.autograd import DeviceType
from torch.profiler import profile
from torch.utils.flop_counter import FlopCounterMode

from diffpir.networks.precision import compiled, has_bf16, layout_for, place


def rates(
    dtype: torch.dtype, widths: list[tuple[int, int]], repeats: int, batch: int = 1
) -> dict[str, float]:
    """Operations per second of a matrix product and of each (channels, side)'s convolution."""
    on = device()
    times = 20 if on.type == "cuda" else 1  # one call is shorter than to start it and wait for it
    side = 8192 if on.type == "cuda" else 2048
    a = torch.randn(side, side, dtype=dtype, device=on)
    calls, flops = {"matrix product": lambda: a @ a}, {"matrix product": 2 * side**3}
    for channels, pixels in widths:
        conv = torch.nn.Conv2d(channels, channels, 3, padding=1).to(
            on, dtype, memory_format=torch.channels_last
        )
        x = torch.randn(batch, channels, pixels, pixels, dtype=dtype, device=on)
        x = x.contiguous(memory_format=torch.channels_last)
        name = f"convolution, {channels} channels, {pixels} x {pixels}"
        calls[name] = lambda conv=conv, x=x: conv(x)
        flops[name] = 2 * 9 * channels**2 * pixels**2 * batch
    repeated = {name: _repeat(call, times) for name, call in calls.items()}
    return {name: times * flops[name] / s for name, s in best(repeated, repeats).items()}


def _repeat(call: Callable[[], object], times: int) -> Callable[[], None]:
    def repeated() -> None:
        for _ in range(times):
            call()

    return repeated


def shares(function) -> str:
    """The operations that take the most of a call's time."""
    with profile() as profiler:
        function()
        synchronize()
    events = profiler.key_averages()
    if device().type == "cuda":  # of kernels alone: the operations that call them have it too
        kernels = [e for e in events if e.device_type == DeviceType.CUDA]
        taken = {e.key: e.self_device_time_total for e in kernels}
    else:
        taken = {e.key: e.self_cpu_time_total for e in events}
    total = sum(taken.values())
    most = sorted(taken.items(), key=lambda item: -item[1])[:8]
    return "\n".join(f"{share / total:7.1%}  {name}" for name, share in most)


def main() -> None:
    options = parser(__doc__)
    options.add_argument("--network", choices=NETWORKS, default="ffhq")
    options.add_argument("--batch", type=int, default=1)
    options.add_argument("--side", type=int, default=256)
    options.add_argument("--repeats", type=int, default=5)
    options.add_argument("--compile", action="store_true", help="measure that, too")
    options.add_argument("--profile", action="store_true", help="the fastest, by share of its time")
    options = options.parse_args()
    on = device()
    plain = network(options.network).to(on)
    x = torch.randn(options.batch, 3, options.side, options.side, device=on)
    each = torch.full((options.batch,), 300, device=on)

    def call(net, dtype, layout, t):
        given = x.to(dtype, memory_format=layout)
        return lambda: net(given, t)

    fp32, bf16 = torch.float32, torch.bfloat16
    last, first = torch.channels_last, torch.contiguous_format
    with torch.inference_mode():
        with FlopCounterMode(display=False) as counter:
            plain(x, each)
        work = counter.get_total_flops()
        module = call(plain, fp32, first, each)

        def as_usual():  # what is placed in fp32 has turned TF32 off
            with torch.backends.cudnn.flags(enabled=True, allow_tf32=True):
                return module()

        calls = {"fp32 module": as_usual if on.type == "cuda" else module}
        placed = place(deepcopy(plain), on, "fp32")
        calls["fp32, channels last"] = call(placed, fp32, last, each[:1])
        if has_bf16(on):

            def autocast():
                with torch.autocast(on.type, bf16):
                    return placed(x, each)

            calls["bf16 by autocast, channels last"] = autocast
            half = deepcopy(plain).to(bf16)
            calls["bf16, contiguous"] = call(half, bf16, first, each)
            half = deepcopy(half).to(memory_format=last)
            calls["bf16, channels last"] = call(half, bf16, last, each)
            ours = place(deepcopy(plain), on, "bf16")
            calls["bf16, as jobs have it"] = call(ours, bf16, layout_for(ours), each[:1])
            if options.compile:
                quick = compiled(place(deepcopy(plain), on, "bf16"))
                calls["bf16, compiled"] = call(quick, bf16, layout_for(quick), each[:1])
        if on.type == "cuda":
            ours = place(deepcopy(plain), on, "fp16")
            calls["fp16, as jobs have it"] = call(ours, torch.float16, layout_for(ours), each[:1])
        seconds = best(calls, options.repeats)
        if options.profile:
            print(shares(calls[min(seconds, key=seconds.get)]))
        levels = plain.config.level_channels
        widths = [(levels[0], options.side), (levels[len(levels) // 2], options.side // 4)]
        usual = bf16 if has_bf16(on) else fp32
        machine = {
            str(dtype).removeprefix("torch."): rates(dtype, widths, options.repeats, options.batch)
            for dtype in {fp32, usual}
        }

    top = max(v for k, v in machine[str(usual).removeprefix("torch.")].items() if "conv" in k)
    parameters = sum(p.numel() for p in plain.parameters())
    print(
        f"{options.network}: {parameters / 1e6:.1f} M parameters, "
        f"{work / options.batch / 1e9:.0f} GFLOP per image and evaluation"
    )
    print(f"{'':32} s/image  x fp32 module  TFLOP/s")
    for name, s in seconds.items():
        print(
            f"{name:32} {s / options.batch:7.3f}  {seconds['fp32 module'] / s:13.2f}  "
            f"{work / s / 1e12:7.3f}"
        )
    for dtype, found in machine.items():
        for name, rate in found.items():
            print(f"{dtype}: {name:45} {rate / 1e12:.3f} TFLOP/s")
    fastest = min(seconds.values())
    print(f"fastest, of the rate of {usual} convolutions: {work / fastest / top:.2f}")
    write(
        options.json,
        {
            "network": options.network,
            "batch": options.batch,
            "side": options.side,
            "gflop_per_image": work / options.batch / 1e9,
            "seconds_per_image": {k: s / options.batch for k, s in seconds.items()},
            "over_fp32_module": {k: seconds["fp32 module"] / s for k, s in seconds.items()},
            "tflops_of_the_machine": {
                dtype: {k: v / 1e12 for k, v in found.items()} for dtype, found in machine.items()
            },
            "share_of_convolution_rate": work / fastest / top,
        },
    )


if __name__ == "__main__":
    main()
