import ast
import json
import pickle
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from skimage import data

from diffpir import CheckpointError, ConfigError, EpsDenoiser, Schedule, builtin_path, load_model
from diffpir.checkpoints.architecture import infer_config, shapes_of
from diffpir.checkpoints.checkpoint import file_digest, read_checkpoint, read_spectrum, save_model
from diffpir.networks.precision import compiled, place
from diffpir.networks.unet import UNet, UNetConfig
from tests.support import TINY, golden, make_net, recipe_state


@pytest.mark.parametrize("name", ["unet_ffhq_like", "unet_imagenet_like"])
def test_agrees_with_guided_diffusion(name, tmp_path):
    g = golden(name)
    shapes = {
        str(key): ast.literal_eval(str(shape))
        for key, shape in zip(g["keys"], g["shapes"], strict=True)
    }
    path = tmp_path / "model.pt"
    torch.save(recipe_state(shapes, int(g["seed"])), path)
    net = load_model(path)
    with torch.inference_mode():
        out = net(torch.tensor(g["x"]), torch.tensor(g["t"]))
    expected = torch.tensor(g["out"])
    assert (out - expected).norm() / expected.norm() < 1e-5
    assert sum(p.numel() for p in net.parameters()) == int(g["n_params"])


# OpenAI's published models, and corners of the family; (levels as multiples of the width).
FAMILY = {
    "64 px, class-conditional": dict(
        model_channels=192, level_channels=(192, 384, 576, 768), num_res_blocks=3,
        attention_levels=(1, 2, 3), out_channels=6, num_classes=1000, resblock_updown=True,
    ),
    "128 px": dict(
        model_channels=256, level_channels=(256, 256, 512, 768, 1024), num_res_blocks=2,
        attention_levels=(2, 3, 4), out_channels=6, resblock_updown=True,
    ),
    "256 px, unconditional": dict(
        model_channels=256, level_channels=(256, 256, 512, 512, 1024, 1024), num_res_blocks=2,
        attention_levels=(3, 4, 5), out_channels=6, resblock_updown=True,
    ),
    "FFHQ": dict(
        model_channels=128, level_channels=(128, 128, 256, 256, 512, 512), num_res_blocks=1,
        attention_levels=(4,), out_channels=6, resblock_updown=True,
    ),
    "512 px, multiplier 1/2": dict(
        model_channels=256, level_channels=(128, 256, 256, 512, 512, 1024, 1024),
        num_res_blocks=2, attention_levels=(4, 5, 6), out_channels=6, resblock_updown=True,
    ),
    "plain": dict(
        model_channels=32, level_channels=(32, 64), num_res_blocks=2, use_scale_shift_norm=False,
    ),
    "one level": dict(model_channels=32, level_channels=(64,), num_res_blocks=2),
    "narrowing": dict(
        model_channels=64, level_channels=(128, 64, 64), num_res_blocks=1, attention_levels=(0, 2),
        resblock_updown=True,
    ),
    "six channels in": dict(
        in_channels=6, model_channels=32, level_channels=(32, 32, 32), num_res_blocks=3,
        attention_levels=(1,), num_head_channels=32,
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", FAMILY)
def test_the_architecture_is_read_off_the_tensors(name):
    config = UNetConfig(**FAMILY[name])
    with torch.device("meta"):
        shapes = shapes_of(UNet(config).state_dict())
    overrides = {"num_head_channels": 32} if config.num_head_channels == 32 else {}
    assert infer_config(shapes, **overrides) == config


def test_a_state_dict_survives_both_formats_and_half_precision(tmp_path):
    net = make_net()
    x, t = torch.randn(2, 3, 16, 16), torch.tensor([3, 900])
    expected = net(x, t)
    own = save_model(net, tmp_path / "own.safetensors")
    assert torch.equal(load_model(own)(x, t), expected)  # its metadata tells the head width
    half = save_model(net, tmp_path / "half.safetensors", torch.float16)
    loaded = load_model(half)
    assert all(p.dtype == torch.float32 for p in loaded.parameters())
    torch.testing.assert_close(loaded(x, t), expected, atol=0.02, rtol=0.02)
    assert half.stat().st_size < 0.6 * own.stat().st_size
    torch.save(net.state_dict(), tmp_path / "plain.pt")
    assert torch.equal(load_model(tmp_path / "plain.pt", num_head_channels=32)(x, t), expected)
    torch.save(net.state_dict(), tmp_path / "old.pt", _use_new_zipfile_serialization=False)
    assert torch.equal(load_model(tmp_path / "old.pt", num_heads=1)(x, t), expected)
    assert len(file_digest(own)) == 64 != file_digest(half)


def test_what_tensors_cannot_tell_is_asked_for(tmp_path):
    torch.save(make_net().state_dict(), tmp_path / "m.pt")
    with pytest.raises(CheckpointError, match=r"m\.pt: .*num_head_channels=64"):
        load_model(tmp_path / "m.pt")
    one = load_model(tmp_path / "m.pt", num_heads=1)
    two = load_model(tmp_path / "m.pt", num_heads=2)
    x, t = torch.randn(1, 3, 16, 16), torch.tensor([10])
    assert not torch.equal(one(x, t), two(x, t))
    new_order = load_model(tmp_path / "m.pt", num_heads=2, use_new_attention_order=True)
    assert not torch.equal(two(x, t), new_order(x, t))


class Bomb:
    def __init__(self, path):
        self.path = str(path)

    def __reduce__(self):
        return (open, (self.path, "w"))


def test_code_in_a_checkpoint_is_refused_and_not_run(tmp_path):
    trap = tmp_path / "trap"
    for name, save in {
        "zip.pt": lambda p: torch.save({"w": Bomb(trap)}, p),
        "raw.pt": lambda p: p.write_bytes(pickle.dumps(Bomb(trap))),
    }.items():
        save(tmp_path / name)
        with pytest.raises(CheckpointError, match=rf"{name}: refused"):
            load_model(tmp_path / name)
        assert not trap.exists()


def test_other_files_are_refused_with_the_reason(tmp_path):
    def refused(name, match):
        with pytest.raises(CheckpointError, match=match) as e:
            read_checkpoint(tmp_path / name)
        assert str(tmp_path / name) in str(e.value)

    refused("absent.pt", "no such file")
    (tmp_path / "empty.pt").write_bytes(b"")
    refused("empty.pt", "not a PyTorch checkpoint")
    (tmp_path / "text.safetensors").write_text("hello")
    refused("text.safetensors", "not a safetensors file")
    torch.save({"model": {"w": torch.zeros(1)}, "epoch": 3}, tmp_path / "nested.pt")
    refused("nested.pt", "not a network of a known family.*first tensors are model.w")
    torch.save({"epoch": 3, "loss": [0.1]}, tmp_path / "numbers.pt")
    refused("numbers.pt", "holds no tensors .dict of: epoch, loss")
    torch.save([torch.zeros(1)], tmp_path / "list.pt")
    refused("list.pt", "list")
    torch.save({"conv1.weight": torch.zeros(1)}, tmp_path / "resnet.pt")
    refused("resnet.pt", "not a network of a known family.*conv1.weight")
    torch.save({1: torch.zeros(1)}, tmp_path / "numbered.pt")
    refused("numbered.pt", "not a network of a known family.* 1;")
    huge = {"time_embed.0.weight": torch.zeros(0, 2**40)}
    torch.save(make_net().state_dict() | huge, tmp_path / "huge.pt")
    refused("huge.pt", "Storage size|shape")

    state = make_net().state_dict()
    for change, match in [
        ({"middle_block.1.qkv.weight": None}, "missing middle_block.1.qkv.weight"),
        ({"extra": torch.zeros(2)}, "unexpected extra"),
        ({"out.0.bias": torch.zeros(7)}, r"out.0.bias has shape \(7,\), expected \(32,\)"),
        ({"input_blocks.2.0.op.weight": None, "input_blocks.2.0.op.bias": None}, "missing input"),
        ({"time_embed.0.weight": torch.zeros(5)}, "not a guided-diffusion U-Net"),
        ({"out.2.weight": torch.tensor(1.0)}, "not a guided-diffusion U-Net|shape"),
        ({"output_blocks.1000000000.0.x": torch.zeros(1)}, "output_blocks.1000000000, but not all"),
        ({"input_blocks.foo.weight": torch.zeros(1)}, "a tensor input_blocks.foo.weight"),
    ]:
        changed = {k: v for k, v in {**state, **change}.items() if v is not None}
        metadata = {"diffpir.unet": json.dumps({"num_head_channels": 32})}
        save_file(changed, tmp_path / "changed.safetensors", metadata)
        refused("changed.safetensors", match)


def test_a_checkpoint_keeps_its_error_spectrum(tmp_path):
    spectrum = read_spectrum(builtin_path())
    assert spectrum and len(spectrum.sigmas) == 10
    path = save_model(make_net(), tmp_path / "m.safetensors", spectrum=spectrum)
    assert read_spectrum(path) == spectrum
    assert read_spectrum(save_model(make_net(), tmp_path / "n.safetensors")) is None
    torch.save(make_net().state_dict(), tmp_path / "m.pt")
    assert read_spectrum(tmp_path / "m.pt") is None


@pytest.mark.parametrize(
    "text, words",
    [
        ("{", "diffpir.spectrum"),
        ("[" * 100_000, "diffpir.spectrum"),
        ("[]", "has the fields"),
        (" " * 2**21, "has 2097152 characters"),
        ('{"sigmas": 1, "frequencies": 1, "error": 1, "pictures": 1}', "has the shape"),
    ],
)
def test_a_spectrum_that_is_none_is_refused(tmp_path, text, words):
    path = tmp_path / "m.safetensors"
    save_file(make_net().state_dict(), path, {"diffpir.spectrum": text})
    with pytest.raises(CheckpointError, match=words) as refused:
        read_spectrum(path)
    assert str(path) in str(refused.value) and len(str(refused.value)) < 1000


def test_truncated_files_are_refused(tmp_path):
    torch.save(make_net().state_dict(), tmp_path / "m.pt")
    save_model(make_net(), tmp_path / "m.safetensors")
    for name in ("m.pt", "m.safetensors"):
        data = (tmp_path / name).read_bytes()
        (tmp_path / f"cut-{name}").write_bytes(data[: len(data) // 2])
        with pytest.raises(CheckpointError):
            load_model(tmp_path / f"cut-{name}")


@pytest.mark.parametrize("height, width", [(16, 16), (17, 30), (1, 1), (1, 5), (3, 64)])
def test_a_denoiser_takes_images_of_any_size(height, width):
    denoise = EpsDenoiser(make_net(), Schedule.linear())
    x = torch.randn(1, 3, height, width)
    x0 = denoise(x, 500)
    assert x0.shape == x.shape and x0.isfinite().all()


def test_the_denoiser_inverts_the_forward_process():
    schedule = Schedule.linear()
    net = make_net()
    x, t = torch.randn(1, 3, 16, 16), 300
    eps = net(x, torch.tensor([t]))
    a = float(schedule.alpha_bar[t])
    x0 = EpsDenoiser(net, schedule)(x, t)
    torch.testing.assert_close(a**0.5 * x0 + (1 - a) ** 0.5 * eps, x, atol=1e-5, rtol=1e-5)


def test_bf16_stays_near_fp32():
    schedule = Schedule.linear()
    x = torch.randn(1, 3, 32, 32)
    exact = EpsDenoiser(make_net(), schedule)(x, 200)
    rounded = EpsDenoiser(place(make_net(), precision="bf16"), schedule)(x, 200)
    assert rounded.dtype == torch.float32 and rounded.is_contiguous()
    assert 0 < (rounded - exact).abs().mean() < 0.05


def test_half_precision_does_not_shift_the_colour_at_high_noise():
    schedule, t = Schedule.linear(), 819  # sigma_bar 30
    picture = torch.from_numpy(data.astronaut()[:64, 100:164]).permute(2, 0, 1)[None] / 127.5 - 1
    a = float(schedule.alpha_bar[t])
    noise = torch.randn(picture.shape, generator=torch.Generator().manual_seed(0))
    x_t = a**0.5 * picture + (1 - a) ** 0.5 * noise
    exact, rounded = (
        EpsDenoiser(place(load_model(builtin_path(), dtype), precision=precision), schedule)(x_t, t)
        for precision, dtype in (("fp32", torch.float32), ("bf16", torch.bfloat16))
    )
    shift = (rounded - exact).mean(dim=(2, 3))
    assert shift.abs().max() < 0.01  # 0.03 with the last layers rounded


def test_the_last_layers_stay_exact(tmp_path):
    net = make_net()
    whole = save_model(net, tmp_path / "whole.safetensors")
    half = save_model(net, tmp_path / "half.safetensors", torch.bfloat16)
    for path in (whole, half):
        placed = place(load_model(path, torch.bfloat16), precision="bf16")
        assert torch.equal(placed.out[2].weight, net.out[2].weight)
        assert torch.equal(placed.out[0].weight, net.out[0].weight)
        assert placed.middle_block[0].in_layers[2].weight.dtype == torch.bfloat16


def test_weights_in_the_type_of_their_file_are_mapped_not_copied(tmp_path):
    path = save_model(make_net(), tmp_path / "m.safetensors", torch.bfloat16)
    net = place(load_model(path, torch.bfloat16), precision="bf16")
    weight = net.input_blocks[1][0].in_layers[2].weight
    address, where = weight.data_ptr(), None
    for line in Path("/proc/self/maps").read_text().splitlines():
        span, *_, file = line.split(maxsplit=5)
        low, high = (int(end, 16) for end in span.split("-"))
        where = file if low <= address < high else where
    assert where == str(path)


def test_one_timestep_for_all_images_is_that_of_each():
    net, x = make_net(), torch.randn(3, 3, 16, 16)
    for config in (TINY, UNetConfig(**{**vars(TINY), "use_scale_shift_norm": False})):
        net = make_net(config)
        each, once = net(x, torch.full((3,), 200)), net(x, torch.tensor([200]))
        torch.testing.assert_close(once, each, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("batch", [1, 2])
def test_all_convolutions_are_given_channels_last(batch):
    """Of one image, the layers after an attention once were not, and took a fifth longer."""
    net, given = make_net(), []
    for module in net.modules():
        if isinstance(module, torch.nn.Conv2d):
            module.register_forward_pre_hook(lambda _, x: given.append(x[0].stride()))
    EpsDenoiser(net, Schedule.linear())(torch.zeros(batch, 3, 24, 16), 500)
    assert len(given) > 10 and all(
        channel == 1 and image >= row > column for image, channel, row, column in given
    )


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # PyTorch's own
def test_a_compiled_network_gives_what_it_gave():
    net, x = make_net(), torch.randn(2, 3, 16, 16)
    with torch.inference_mode():
        plain = net(x, torch.tensor([200]))
        torch.testing.assert_close(compiled(net)(x, torch.tensor([200])), plain)


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # PyTorch's own
def test_what_cannot_be_compiled_is_told_at_once(monkeypatch):
    monkeypatch.setenv("CXX", "no-such-compiler")
    monkeypatch.setattr("torch._inductor.config.cpp.cxx", ("no-such-compiler",))
    monkeypatch.setattr("torch._inductor.config.force_disable_caches", True)
    with pytest.raises(ConfigError, match="compile: this machine cannot"):
        compiled(make_net())


def test_fp16_is_for_gpus():
    with pytest.raises(ConfigError, match="fp16 needs a GPU"):
        place(make_net(), "cpu", "fp16")


def test_labels_belong_to_class_conditional_networks():
    conditional = make_net(UNetConfig(**{**vars(TINY), "num_classes": 5}))
    schedule, x = Schedule.linear(), torch.randn(1, 3, 16, 16)
    by_label = [EpsDenoiser(conditional, schedule, label)(x, 100) for label in (0, 4)]
    assert not torch.equal(*by_label)
    with pytest.raises(ConfigError, match="needs a label from 0 to 4, got 5"):
        EpsDenoiser(conditional, schedule, 5)
    with pytest.raises(ConfigError, match="needs a label from 0 to 4"):
        EpsDenoiser(conditional, schedule)(x, 100)
    with pytest.raises(ConfigError, match="takes no label"):
        EpsDenoiser(make_net(), schedule, 0)
    with pytest.raises(ConfigError, match="takes 6 and gives 3"):
        EpsDenoiser(make_net(UNetConfig(**{**vars(TINY), "in_channels": 6})), schedule)
