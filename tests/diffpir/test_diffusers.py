"""Networks of diffusers and of the original DDPM, against those libraries' own code."""

import itertools
import json
import math
import shutil
import warnings
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from diffpir import CheckpointError, Denoise, SamplerConfig, restore
from diffpir.checkpoints.checkpoint import read_checkpoint, save_model
from diffpir.checkpoints.prior import load_prior

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # of its own imports
    diffusers = pytest.importorskip("diffusers", reason="diffusers is not installed")

SMALL = dict(block_out_channels=(32, 64), layers_per_block=1, norm_num_groups=16)
ATTENTION = dict(
    down_block_types=("DownBlock2D", "AttnDownBlock2D"),
    up_block_types=("AttnUpBlock2D", "UpBlock2D"),
)
NETWORKS = {
    "google's ddpm": dict(
        block_out_channels=(32, 32, 64), layers_per_block=2, norm_num_groups=32, norm_eps=1e-6,
        attention_head_dim=None, flip_sin_to_cos=False, freq_shift=1, downsample_padding=0,
        down_block_types=("DownBlock2D", "AttnDownBlock2D", "DownBlock2D"),
        up_block_types=("UpBlock2D", "AttnUpBlock2D", "UpBlock2D"),
    ),
    "a training script's": SMALL | ATTENTION,
    "resampling in residual blocks, scale-shift": SMALL | dict(
        down_block_types=("ResnetDownsampleBlock2D", "AttnDownBlock2D"),
        up_block_types=("AttnUpBlock2D", "ResnetUpsampleBlock2D"),
        downsample_type="resnet", upsample_type="resnet", resnet_time_scale_shift="scale_shift",
        attn_norm_num_groups=16, attention_head_dim=32,
    ),
    "grey, learned variance": SMALL | ATTENTION | dict(in_channels=1, out_channels=2),
    "class-conditional": SMALL | ATTENTION | dict(num_class_embeds=5, attention_head_dim=16),
    "no attention but in the middle": SMALL | dict(
        down_block_types=("DownBlock2D",) * 2, up_block_types=("UpBlock2D",) * 2,
        attention_head_dim=64,
    ),
}  # fmt: skip


def network(name: str, seed: int = 0):
    torch.manual_seed(seed)
    net = diffusers.UNet2DModel(sample_size=16, **NETWORKS[name]).eval().requires_grad_(False)
    for parameter in net.parameters():  # norms and biases are ones and zeros, which show little
        if parameter.ndim == 1:
            parameter.add_(0.1 * torch.randn_like(parameter))
    return net


def old_names(key: str) -> str:
    for new, old in {
        "to_q": "query",
        "to_k": "key",
        "to_v": "value",
        "to_out.0": "proj_attn",
    }.items():
        key = key.replace(f".{new}.", f".{old}.")
    return key


@pytest.fixture(params=["root", "unet", "bin", "fp16", "old names"])
def layout(request):
    return request.param


def write(net, folder: Path, layout: str = "root", scheduler=None) -> Path:
    where = folder / "unet" if layout == "unet" else folder
    variant = "fp16" if layout == "fp16" else None
    if variant:
        net = net.half()
    net.save_pretrained(where, safe_serialization=layout != "bin", variant=variant)
    if layout == "old names":
        (where / "diffusion_pytorch_model.safetensors").unlink()
        state = {old_names(key): t for key, t in net.state_dict().items()}
        torch.save(state, where / "diffusion_pytorch_model.bin")
    scheduler = scheduler or diffusers.DDPMScheduler()
    scheduler.save_pretrained(folder / "scheduler" if layout == "unet" else folder)
    return folder


def largest_difference(net, prior) -> tuple[float, float]:
    """Of one evaluation, and the largest value."""
    config = prior.net.config
    x = torch.randn(2, config.in_channels, 16, 24, generator=torch.Generator().manual_seed(1))
    t, label = torch.tensor([3, 911]), torch.tensor([4, 0]) if config.num_classes else None
    with torch.inference_mode():
        expected = net(x, t, label).sample
        found = prior.net(x, t, label)
    return float((found - expected).abs().max()), float(expected.abs().max())


@pytest.mark.parametrize("name", NETWORKS)
def test_one_evaluation_agrees(tmp_path, name, layout):
    net = network(name)
    folder = write(net, tmp_path, layout)
    prior = load_prior(folder)
    difference, most = largest_difference(net.float(), prior)
    assert difference < 1e-5 * max(1.0, most), (difference, most)
    facts = {fact.name: fact for fact in read_checkpoint(folder).facts}
    assert facts["schedule"].source == "found: scheduler_config.json"
    if layout == "root":  # and our own file of it says all by itself
        again = load_prior(save_model(prior.net, tmp_path / "ours.safetensors"))
        assert again.net.config == prior.net.config
        assert largest_difference(net, again)[0] == difference


SCHEDULES = {
    "linear": dict(beta_schedule="linear"),
    "Stable Diffusion's": dict(
        beta_schedule="scaled_linear", beta_start=0.00085, beta_end=0.012,
        prediction_type="v_prediction",
    ),
    "cosine": dict(beta_schedule="squaredcos_cap_v2", num_train_timesteps=400),
    "sigmoid": dict(beta_schedule="sigmoid", prediction_type="sample"),
    "given": dict(trained_betas=[0.01 * (i + 1) for i in range(20)], num_train_timesteps=20),
    "zero SNR": dict(beta_schedule="linear", rescale_betas_zero_snr=True),
}  # fmt: skip


@pytest.mark.parametrize("name", SCHEDULES)
def test_schedules_agree(tmp_path, name):
    scheduler = diffusers.DDPMScheduler(**SCHEDULES[name])
    diffusion = load_prior(
        write(network("a training script's"), tmp_path, scheduler=scheduler)
    ).diffusion
    expected = scheduler.alphas_cumprod.double().numpy()
    assert abs(diffusion.schedule.alpha_bar - expected).max() < 5e-7
    asked = scheduler.config.prediction_type
    assert diffusion.prediction == {"v_prediction": "v", "sample": "x0"}.get(asked, asked)


@pytest.mark.parametrize("prediction", ["epsilon", "v_prediction", "sample"])
def test_a_whole_restoration_agrees_with_a_loop_of_the_library_alone(tmp_path, prediction):
    net = network("google's ddpm")
    scheduler = diffusers.DDPMScheduler(prediction_type=prediction)
    prior = load_prior(write(net, tmp_path, scheduler=scheduler))
    y = torch.rand(1, 3, 16, 24, generator=torch.Generator().manual_seed(2))
    draws = [
        torch.randn(y.shape, generator=torch.Generator().manual_seed(10 + i)) for i in range(12)
    ]
    sigma_n, config = 0.1, SamplerConfig(nfe=12, lam=5.0, zeta=0.5)
    timesteps = config.timesteps(prior.diffusion.schedule)
    found = restore(
        prior.denoiser(), Denoise(), y, schedule=prior.diffusion.schedule, config=config,
        noise_level=sigma_n, noise=iter(draws),
    )  # fmt: skip

    # DiffPIR's algorithm 1 for A = identity, in the library's own terms.
    a_bar, noise = scheduler.alphas_cumprod, iter(draws)

    def clean(x, t):
        with torch.inference_mode():
            out = net(x, t).sample
        a = a_bar[t]
        x0 = {
            "epsilon": (x - (1 - a).sqrt() * out) / a.sqrt(),
            "v_prediction": a.sqrt() * x - (1 - a).sqrt() * out,
            "sample": out,
        }[prediction]
        return x0.clamp(-1, 1)

    x = scheduler.add_noise(2 * y - 1, next(noise), torch.tensor([timesteps[0]]))
    for t, s in itertools.pairwise(timesteps):
        x0 = clean(x, t)
        rho = 5.0 * sigma_n**2 * a_bar[t] / (1 - a_bar[t])
        x0 = (2 * y - 1 + rho * x0) / (1 + rho)
        eps = (x - a_bar[t].sqrt() * x0) / (1 - a_bar[t]).sqrt()
        eps = math.sqrt(0.5) * eps + math.sqrt(0.5) * next(noise)
        x = scheduler.add_noise(x0, eps, torch.tensor([s]))
    expected = (clean(x, timesteps[-1]) + 1) / 2
    assert (found - expected).abs().max() < 1e-4, float((found - expected).abs().max())


def test_a_single_file_needs_its_configuration(tmp_path):
    folder = write(network("a training script's"), tmp_path / "there")
    alone = tmp_path / "elsewhere" / "m.safetensors"
    alone.parent.mkdir()
    shutil.copy(folder / "diffusion_pytorch_model.safetensors", alone)
    with pytest.raises(CheckpointError, match=r"a diffusers network, whose heads.*config\.json"):
        load_prior(alone)
    given = load_prior(alone, config=folder / "config.json")
    beside = load_prior(folder / "diffusion_pytorch_model.safetensors")
    x, t = torch.randn(1, 3, 16, 16), torch.tensor([100])
    assert torch.equal(given.net(x, t), beside.net(x, t))


@pytest.mark.parametrize(
    "change, words",
    [
        ({"time_embedding_type": "fourier"}, "time_embedding_type: 'fourier'; what is read here"),
        ({"act_fn": "gelu"}, "act_fn: 'gelu'"),
        ({"center_input_sample": True}, "center_input_sample: True"),
        ({"mid_block_type": None}, "mid_block_type: None"),
        ({"down_block_types": ["SkipDownBlock2D", "AttnDownBlock2D"]}, "a SkipDownBlock2D"),
        ({"up_block_types": ["UpBlock2D", "AttnUpBlock2D"]}, "attention on other levels"),
        ({"resnet_time_scale_shift": "scale_shift"}, "middle attention has no norm"),
        ({"_class_name": "UNet2DConditionModel"}, "UNet2DConditionModel, which wants a text"),
        ({"_class_name": "AutoencoderKL"}, "that of a AutoencoderKL"),
        ({"in_channels": 4}, "4 channels: latents"),
        ({"layers_per_block": 2}, "do not fit|missing"),
        ({"layers_per_block": 10**9}, "layers_per_block: 1000000000"),
        ({"layers_per_block": "x"}, "layers_per_block: 'x'"),
        ({"norm_num_groups": 7}, "divisible|groups"),
        ({"norm_eps": "small"}, "cannot be that of a UNet2DModel"),
        ({"block_out_channels": 7}, "as many block_out_channels"),
    ],
)
def test_what_our_network_has_not_is_refused_in_words(tmp_path, change, words):
    folder = write(network("a training script's"), tmp_path)
    config = json.loads((folder / "config.json").read_text()) | change
    (folder / "config.json").write_text(json.dumps(config))
    with pytest.raises(CheckpointError, match=words):
        load_prior(folder)


@pytest.mark.parametrize(
    "scheduler, words",
    [
        ({"_class_name": "EDMEulerScheduler"}, "EDMEulerScheduler, whose noise is not that"),
        ({"_class_name": "ScoreSdeVeScheduler"}, "ScoreSdeVeScheduler"),
        ({"_class_name": "CMStochasticIterativeScheduler"}, "CMStochastic"),
        ({"_class_name": "FlowMatchEulerDiscreteScheduler"}, "FlowMatch"),
        ({"beta_schedule": "laplace"}, "beta_schedule 'laplace'"),
        ({"prediction_type": "flow"}, "predicts 'flow'"),
        ({"num_train_timesteps": "many"}, "scheduler_config.json"),
    ],
)
def test_other_processes_are_refused(tmp_path, scheduler, words):
    folder = write(network("a training script's"), tmp_path)
    file = folder / "scheduler_config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | scheduler))
    with pytest.raises(CheckpointError, match=words):
        load_prior(folder)


class Original(nn.Module):
    """The original DDPM's network, after its PyTorch version, for 2 levels of 1 block."""

    def __init__(self, channels=3, width=32):
        super().__init__()
        self.temb = nn.Module()
        self.temb.dense = nn.ModuleList(
            [nn.Linear(width, 4 * width), nn.Linear(4 * width, 4 * width)]
        )
        self.conv_in = nn.Conv2d(channels, width, 3, 1, 1)
        self.down, self.up = nn.ModuleList(), nn.ModuleList()
        widths = (width, 2 * width)
        for i, (before, after) in enumerate(zip((width, *widths), widths, strict=False)):
            level = nn.Module()
            level.block = nn.ModuleList([OriginalBlock(before, after, 4 * width)])
            level.attn = nn.ModuleList([OriginalAttention(after)] if i else [])
            if i == 0:
                level.downsample = nn.Module()
                level.downsample.conv = nn.Conv2d(after, after, 3, 2, 0)
            self.down.append(level)
        self.mid = nn.Module()
        self.mid.block_1 = OriginalBlock(widths[1], widths[1], 4 * width)
        self.mid.attn_1 = OriginalAttention(widths[1])
        self.mid.block_2 = OriginalBlock(widths[1], widths[1], 4 * width)
        skips = {1: (widths[1], widths[0]), 0: (widths[0], width)}
        for i, before in ((0, widths[1]), (1, widths[1])):
            level = nn.Module()
            ins = (before + skips[i][0], widths[i] + skips[i][1])
            level.block = nn.ModuleList([OriginalBlock(n, widths[i], 4 * width) for n in ins])
            level.attn = nn.ModuleList(
                [OriginalAttention(widths[i]) for _ in range(2)] if i else []
            )
            if i:
                level.upsample = nn.Module()
                level.upsample.conv = nn.Conv2d(widths[i], widths[i], 3, 1, 1)
            self.up.append(level)
        self.norm_out = nn.GroupNorm(32, width, 1e-6)
        self.conv_out = nn.Conv2d(width, channels, 3, 1, 1)

    def forward(self, x, t):
        half = self.conv_in.out_channels // 2
        freqs = torch.exp(torch.arange(half) * -(math.log(10000) / (half - 1)))
        emb = t.float()[:, None] * freqs[None]
        emb = torch.cat([emb.sin(), emb.cos()], dim=1)
        emb = self.temb.dense[1](F.silu(self.temb.dense[0](emb)))
        hs = [self.conv_in(x)]
        for level in self.down:
            h = level.block[0](hs[-1], emb)
            hs.append(level.attn[0](h) if len(level.attn) else h)
            if hasattr(level, "downsample"):
                hs.append(level.downsample.conv(F.pad(hs[-1], (0, 1, 0, 1))))
        h = self.mid.block_2(self.mid.attn_1(self.mid.block_1(hs[-1], emb)), emb)
        for level in reversed(self.up):
            for j in range(2):
                h = level.block[j](torch.cat([h, hs.pop()], dim=1), emb)
                h = level.attn[j](h) if len(level.attn) else h
            if hasattr(level, "upsample"):
                h = level.upsample.conv(F.interpolate(h, scale_factor=2.0))
        return self.conv_out(F.silu(self.norm_out(h)))


class OriginalBlock(nn.Module):
    def __init__(self, before, after, emb):
        super().__init__()
        self.norm1, self.norm2 = (nn.GroupNorm(32, n, 1e-6) for n in (before, after))
        self.conv1, self.conv2 = (nn.Conv2d(n, after, 3, 1, 1) for n in (before, after))
        self.temb_proj = nn.Linear(emb, after)
        if before != after:
            self.nin_shortcut = nn.Conv2d(before, after, 1)

    def forward(self, x, emb):
        h = self.conv1(F.silu(self.norm1(x))) + self.temb_proj(F.silu(emb))[:, :, None, None]
        h = self.conv2(F.silu(self.norm2(h)))
        return h + (self.nin_shortcut(x) if hasattr(self, "nin_shortcut") else x)


class OriginalAttention(nn.Module):
    def __init__(self, ch):
        super().__init__()
        self.norm = nn.GroupNorm(32, ch, 1e-6)
        self.q, self.k, self.v, self.proj_out = (nn.Conv2d(ch, ch, 1) for _ in range(4))

    def forward(self, x):
        q, k, v = (f(self.norm(x)).flatten(2) for f in (self.q, self.k, self.v))
        weights = torch.softmax(q.transpose(1, 2) @ k * q.shape[1] ** -0.5, dim=2)
        return x + self.proj_out((v @ weights.transpose(1, 2)).reshape(x.shape))


def test_the_original_ddpm_is_read_from_its_one_file(tmp_path):
    torch.manual_seed(3)
    net = Original().eval().requires_grad_(False)
    x, t = torch.randn(2, 3, 16, 24), torch.tensor([7, 800])
    other = Original()
    for name, content in {
        "celeba_hq.ckpt": net.state_dict(),
        "ddim.pth": [other.state_dict(), {"state": {}}, 1, 2, net.state_dict()],
    }.items():
        torch.save(content, tmp_path / name)
        prior = load_prior(tmp_path / name)
        assert (prior.net(x, t) - net(x, t)).abs().max() < 1e-5 * net(x, t).abs().max()
    facts = {fact.name: fact for fact in read_checkpoint(tmp_path / name).facts}
    assert facts["architecture"].value == "original DDPM U-Net"
    assert facts["schedule"].source == "found: that of this family"
    with pytest.raises(CheckpointError, match="num_heads: this network says itself"):
        load_prior(tmp_path / name, num_heads=1)
