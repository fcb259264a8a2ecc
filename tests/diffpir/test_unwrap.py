"""Files as trainers write them: the network is found in them, its average rather."""

from collections import OrderedDict
from functools import reduce

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from diffpir import CheckpointError, load_model
from diffpir.checkpoints.checkpoint import read_checkpoint
from tests.support import make_net

RAW, AVERAGE = make_net(seed=1).state_dict(), make_net(seed=2).state_dict()


def under(prefix: str, state: dict) -> dict:
    return {prefix + key: tensor for key, tensor in state.items()}


def swa():
    net = make_net(seed=1)
    averaged = torch.optim.swa_utils.AveragedModel(net)
    averaged.module.load_state_dict(AVERAGE)
    return averaged.state_dict()


optimizer = torch.optim.AdamW(make_net(seed=1).requires_grad_(True).parameters())
betas = torch.linspace(1e-4, 0.02, 1000)

# How it is nested -> whether the average is in it.
FILES = {
    "state dict": (lambda: RAW, False),
    "DDP": (lambda: under("module.", RAW), False),
    "compiled": (lambda: under("_orig_mod.", RAW), False),
    "all wrappers": (lambda: {"model": under("module._orig_mod.model.", RAW)}, False),
    "epoch and optimizer": (
        lambda: {"model": RAW, "optimizer": optimizer.state_dict(), "epoch": 3, "loss": [0.1]},
        False,
    ),
    "model, ema, step": (lambda: {"model": RAW, "ema": AVERAGE, "step": 7}, True),
    "basicsr": (lambda: {"params": RAW, "params_ema": AVERAGE}, True),
    "Lightning": (
        lambda: {
            "epoch": 1,
            "state_dict": under("model.", RAW) | under("ema_model.", AVERAGE) | {"betas": betas},
            "optimizer_states": [optimizer.state_dict()],
        },
        True,
    ),
    "latent-diffusion's LitEma": (
        lambda: {
            "state_dict": under("model.diffusion_model.", RAW)
            | {f"model_ema.diffusion_model{key.replace('.', '')}": t for key, t in AVERAGE.items()}
            | {"model_ema.decay": torch.tensor(0.999), "betas": betas}
        },
        True,
    ),
    "ema-pytorch": (
        lambda: {
            "step": 1,
            "model": RAW,
            "ema": under("online_model.", RAW)
            | under("ema_model.", AVERAGE)
            | {"initted": torch.tensor(True), "step": torch.tensor(3)},
        },
        True,
    ),
    "shadow parameters": (
        lambda: {
            "model": under("module.", RAW),
            "ema": {"decay": 0.999, "shadow_params": list(AVERAGE.values())},
        },
        True,
    ),
    "ddim": (lambda: [under("module.", RAW), optimizer.state_dict(), 1, 2, AVERAGE], True),
    "torch.optim.swa_utils": (lambda: {"net": RAW, "swa_net": swa()}, True),
    "a diffusion process": (lambda: RAW | {"betas": betas, "sqrt_alphas_cumprod": betas}, False),
}


@pytest.mark.parametrize("name", FILES)
def test_the_network_is_found(tmp_path, name):
    content, averaged = FILES[name][0](), FILES[name][1]
    torch.save(content, tmp_path / "m.pt")
    net = load_model(tmp_path / "m.pt", num_heads=1)
    expected = AVERAGE if averaged else RAW
    assert all(torch.equal(t, expected[key]) for key, t in net.state_dict().items())
    facts = {fact.name: fact for fact in read_checkpoint(tmp_path / "m.pt", num_heads=1).facts}
    assert ("an exponential average" in facts["weights"].value) == averaged
    assert facts["num_heads"].how == "given" and facts["use_new_attention_order"].how == "assumed"


WRAPPERS = ("state_dict", "model", "module", "net", "_orig_mod", "ema_model", "params_ema", "0")


@given(
    st.lists(st.sampled_from(WRAPPERS), max_size=4),
    st.lists(st.sampled_from(WRAPPERS[:5]), max_size=3),
)
def test_any_nesting_gives_the_same_network(tmp_path_factory, outer, inner):
    path = tmp_path_factory.mktemp("nested") / "m.pt"
    state = OrderedDict(under("".join(f"{name}." for name in inner), RAW))
    torch.save(reduce(lambda value, name: {name: value, "step": 1}, outer, state), path)
    checkpoint = read_checkpoint(path, num_heads=1)
    assert checkpoint.state.keys() == RAW.keys()
    assert all(torch.equal(checkpoint.state[key], RAW[key]) for key in RAW)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_weights_of_any_float_are_read(tmp_path, dtype):
    torch.save({k: t.to(dtype) for k, t in RAW.items()}, tmp_path / "m.pt")
    net = load_model(tmp_path / "m.pt", num_heads=1)
    state = net.state_dict()
    assert all(torch.equal(state[k], t.to(dtype).float()) for k, t in RAW.items())


def test_quantised_weights_are_refused_with_a_hint(tmp_path):
    torch.save({k: t.to(torch.int8) for k, t in RAW.items()}, tmp_path / "m.pt")
    with pytest.raises(CheckpointError, match="of the type int8: weights are read as float16"):
        load_model(tmp_path / "m.pt", num_heads=1)


def test_a_file_that_holds_itself_is_refused_in_bounded_time(tmp_path):
    loop: dict = {"model": RAW}
    loop["again"] = [loop] * 50
    torch.save(loop, tmp_path / "m.pt")
    with pytest.raises(CheckpointError, match="nested more than"):
        load_model(tmp_path / "m.pt", num_heads=1)
