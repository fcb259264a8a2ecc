"""Files that cannot be a prior are refused with what they seem to be, and what would work."""

import json
import pickle
import sys
import types

import pytest
import torch
from safetensors.torch import save_file

from diffpir import CheckpointError
from diffpir.checkpoints.checkpoint import read_checkpoint, save_model
from tests.support import make_net

W = torch.zeros(4, 4)
TENSORS = {
    "a LoRA": ["lora_unet_down_blocks_0_attentions_0.lora_down.weight"],
    "a LoRA,": ["unet.down_blocks.0.attentions.0.processor.to_q_lora.down.weight",
                "unet.down_blocks.0.attn.lora_A.weight"],
    "Stable Diffusion": ["model.diffusion_model.time_embed.0.weight",
                         "first_stage_model.encoder.conv_in.weight",
                         "cond_stage_model.transformer.text_model.embeddings.weight"],
    "Stable Diffusion or its kind": ["time_embedding.linear_1.weight", "conv_in.weight",
                                     "down_blocks.0.attentions.0.transformer_blocks.0.attn2.to_k.weight"],
    "an autoencoder": ["encoder.conv_in.weight", "decoder.conv_in.weight", "quant_conv.weight"],
    "the state of an optimiser": ["state.0.exp_avg", "state.0.exp_avg_sq"],
    "lucidrains": ["model.init_conv.weight", "model.downs.0.0.block1.proj.weight", "betas"],
    "MONAI": ["time_embed.1.weight", "conv_in.conv.weight"],
    "score-SDE": ["all_modules.0.weight"],
    "EDM": ["model.enc.64x64_conv.weight", "model.dec.8x8_in0.conv0.weight"],
    "DiT": ["x_embedder.proj.weight", "blocks.0.attn.qkv.weight"],
    "a classifier of guided-diffusion": ["time_embed.0.weight", "input_blocks.0.0.weight",
                                         "out.2.c_proj.weight"],
    "restores images by itself": ["params.conv_first.weight", "params.body.0.rdb1.conv1.weight"],
    "CLIP": ["visual.conv1.weight", "transformer.resblocks.0.attn.in_proj_weight"],
}  # fmt: skip


def refused(path, **options) -> str:
    with pytest.raises(CheckpointError) as e:
        read_checkpoint(path, **options)
    assert str(e.value).startswith(str(path)) and len(str(e.value)) < 1000
    return str(e.value)


@pytest.mark.parametrize("what", TENSORS)
@pytest.mark.parametrize("suffix", [".pt", ".safetensors"])
def test_other_networks_are_named(tmp_path, what, suffix):
    path = tmp_path / f"m{suffix}"
    state = {key: W.clone() for key in TENSORS[what]}
    torch.save(state, path) if suffix == ".pt" else save_file(state, path)
    assert what.rstrip(",") in refused(path)


def test_a_prior_among_other_things_is_not_taken_for_them(tmp_path):
    net = make_net().requires_grad_(True)
    optimizer = torch.optim.AdamW(net.parameters())
    net(torch.zeros(1, 3, 8, 8), torch.tensor([1])).sum().backward()
    optimizer.step()
    content = {"model": net.state_dict(), "optimizer": optimizer.state_dict()}
    torch.save(content, tmp_path / "m.pt")
    read_checkpoint(tmp_path / "m.pt", num_heads=1)
    torch.save({"optimizer": optimizer.state_dict()}, tmp_path / "o.pt")
    assert "the state of an optimiser: give the file" in refused(tmp_path / "o.pt")


@pytest.mark.parametrize(
    "content, words",
    [
        (b"", "an empty file"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:0", "git lfs pull"),
        (b"<!DOCTYPE html><html>Google Drive", "a web page, saved in place"),
        (b"\n<HTML>", "a web page"),
        (b"<?xml version='1.0'?><Error><Code>AccessDenied", "a web server's message"),
        (b"\x89HDF\r\n", "Keras or HDF5"),
        (b"\x1f\x8b\x08", "gzip"),
        (b"nothing that is known", "refused|not a"),
    ],
)
@pytest.mark.parametrize("suffix", [".pt", ".safetensors"])
def test_files_that_hold_no_tensors_are_named(tmp_path, content, words, suffix):
    path = tmp_path / f"m{suffix}"
    path.write_bytes(content)
    said = refused(path)
    assert any(word in said for word in words.split("|")), said


def test_an_edm_pickle_is_named_and_not_run(tmp_path, monkeypatch):
    module = types.ModuleType("torch_utils.persistence")
    ran = []

    def reconstruct(*_):
        ran.append(True)

    reconstruct.__module__, reconstruct.__qualname__ = module.__name__, "reconstruct"
    module.reconstruct = reconstruct
    monkeypatch.setitem(sys.modules, "torch_utils", types.ModuleType("torch_utils"))
    monkeypatch.setitem(sys.modules, module.__name__, module)

    class Persistent:
        def __reduce__(self):
            return reconstruct, ()

    for protocol in (2, 4):
        path = tmp_path / f"edm-{protocol}.pkl"
        path.write_bytes(pickle.dumps({"ema": Persistent()}, protocol=protocol))
        assert "a pickle of EDM or StyleGAN" in refused(path)
    assert not ran


def test_files_that_are_cut_off_are_named(tmp_path):
    torch.save(make_net().state_dict(), tmp_path / "m.pt")
    save_model(make_net(), tmp_path / "m.safetensors")
    for name in ("m.pt", "m.safetensors"):
        whole = (tmp_path / name).read_bytes()
        for share in (0.1, 0.5, 0.99):
            (tmp_path / f"cut-{name}").write_bytes(whole[: int(len(whole) * share)])
            said = refused(tmp_path / f"cut-{name}")
            assert "that is cut off" in said and "download it anew" in said, (share, said)
    (tmp_path / "renamed.safetensors").write_bytes((tmp_path / "m.pt").read_bytes())
    assert "cut off" not in refused(tmp_path / "renamed.safetensors")


def test_objects_beside_the_weights_are_named(tmp_path):
    import argparse

    torch.save({"model": {"w": W}, "args": argparse.Namespace(lr=1)}, tmp_path / "m.pt")
    assert "options beside its weights: save its state_dict alone" in refused(tmp_path / "m.pt")
    (tmp_path / "m.json").write_text(json.dumps({}))
    assert "refused" in refused(tmp_path / "m.json")
