"""Schedules of all kinds, what networks predict, and the check that both are right."""

import json
import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from diffpir import (
    CheckpointError,
    ConfigError,
    Denoise,
    EpsDenoiser,
    SamplerConfig,
    Schedule,
    builtin_path,
    load_model,
    noise_stream,
    restore,
)
from diffpir.checkpoints.checkpoint import read_checkpoint, save_model
from diffpir.checkpoints.prior import load_prior
from diffpir.networks.diffusion import Diffusion
from diffpir.networks.prior_check import check_prior
from diffpir.networks.unet import UNet
from diffpir.schedule import MOST_SIGMA
from diffpir.schedule_file import read_schedule
from tests.support import make_net

KINDS = ["linear", "scaled_linear", "cosine", "sigmoid"]
schedules = st.builds(
    lambda kind, steps, start, ratio, zero: Schedule.of(
        kind,
        steps=steps,
        zero_snr=zero,
        **({} if kind == "cosine" else {"beta_start": start, "beta_end": min(start * ratio, 0.05)}),
    ),
    st.sampled_from(KINDS),
    st.integers(2, 5000),
    st.floats(1e-5, 1e-2),
    st.floats(1.5, 300),
    st.booleans(),
)


@given(schedules)
def test_a_schedule_falls_and_survives_being_written(schedule):
    assert (np.diff(schedule.alpha_bar) <= 0).all() and 0 < schedule.alpha_bar[0] < 1
    again = Schedule.from_plain(json.loads(json.dumps(schedule.plain)))
    assert np.array_equal(again.alpha_bar, schedule.alpha_bar) and again.kind == schedule.kind
    table = Schedule.of_table(schedule.alpha_bar.tolist())
    assert np.array_equal(table.alpha_bar, schedule.alpha_bar)
    written = Schedule.from_plain(json.loads(json.dumps(table.plain)))
    assert np.array_equal(written.alpha_bar, schedule.alpha_bar)
    assert schedule.sigma_bar[schedule.start] <= MOST_SIGMA


@given(schedules, st.floats(0.01, 100))
def test_noise_levels_are_looked_up_in_the_schedule_in_use(schedule, sigma):
    if not schedule.sigma_bar[0] < sigma < schedule.sigma_bar[schedule.start]:
        return
    t = schedule.nearest(sigma)
    neighbours = schedule.sigma_bar[max(0, t - 1) : t + 2]
    assert neighbours.min() <= sigma <= neighbours.max()
    config = SamplerConfig(nfe=2, sigma_max=sigma)
    assert config.timesteps(schedule)[0] == max(t, min(4, schedule.start))


def test_betas_are_told_from_their_products():
    schedule = Schedule.of("scaled_linear", steps=300)
    betas = 1 - schedule.alpha_bar / np.concatenate([[1.0], schedule.alpha_bar[:-1]])
    np.testing.assert_allclose(Schedule.of_table(betas).alpha_bar, schedule.alpha_bar, rtol=1e-9)


@pytest.mark.parametrize(
    "table",
    [[], [0.5], "abc", [[0.9, 0.1]], [0.9, 0.0, 0.0], [1.0, 0.5], [float("nan"), 0.1], [0.9, -0.1]],
)
def test_a_table_that_is_no_schedule_is_refused(table):
    with pytest.raises(ConfigError):
        Schedule.of_table(table)


@pytest.mark.parametrize("name", ["s.npy", "s.json", "keyed.json"])
def test_tables_are_read_from_files(tmp_path, name):
    expected = Schedule.of("cosine", steps=50)
    path = tmp_path / name
    if name == "s.npy":
        np.save(path, expected.alpha_bar)
    else:
        numbers = expected.alpha_bar.tolist()
        path.write_text(json.dumps({"alphas_cumprod": numbers} if "keyed" in name else numbers))
    assert np.array_equal(read_schedule(path).alpha_bar, expected.alpha_bar)
    path.write_bytes(b"\x93NUMPY no, it is not")
    with pytest.raises(ConfigError, match=rf"{name}: .*expected one row of betas"):
        read_schedule(path)


@pytest.mark.parametrize("key", ["betas", "alphas_cumprod", "diffusion.betas"])
def test_a_schedule_is_taken_from_the_file_that_holds_it(tmp_path, key):
    schedule = Schedule.of("cosine", steps=400)
    betas = 1 - schedule.alpha_bar / np.concatenate([[1.0], schedule.alpha_bar[:-1]])
    numbers = betas if "betas" in key else schedule.alpha_bar
    state = make_net().state_dict() | {key: torch.tensor(numbers)}
    torch.save({"state_dict": state, "epoch": 1}, tmp_path / "m.pt")
    found = read_checkpoint(tmp_path / "m.pt", num_heads=1)
    np.testing.assert_allclose(found.diffusion.schedule.alpha_bar, schedule.alpha_bar, rtol=1e-6)
    facts = {fact.name: fact for fact in found.facts}
    assert facts["schedule"].source == f"found: state_dict.{key}"
    asked = Schedule.of("linear", steps=10)
    given = read_checkpoint(tmp_path / "m.pt", num_heads=1, schedule=asked)
    assert given.diffusion.schedule is asked
    state[key] = torch.ones(7)
    torch.save(state, tmp_path / "m.pt")
    with pytest.raises(CheckpointError, match=rf"its tensor {key} is not a noise schedule"):
        read_checkpoint(tmp_path / "m.pt", num_heads=1)


def test_our_own_files_tell_their_diffusion(tmp_path):
    diffusion = Diffusion(schedule=Schedule.of("cosine", steps=4000), rescale_timesteps=True)
    path = save_model(make_net(), tmp_path / "m.safetensors", diffusion=diffusion)
    prior = load_prior(path)
    assert prior.diffusion.plain == diffusion.plain
    x = torch.randn(1, 3, 16, 16)
    told = EpsDenoiser(prior.net, diffusion.schedule, rescale_timesteps=True)(x, 2000)
    assert torch.equal(prior.denoiser()(x, 2000), told)
    eps = prior.net(x, torch.tensor([500.0]))
    a = diffusion.schedule.alpha_bar[2000]
    torch.testing.assert_close(told, (x - (1 - a) ** 0.5 * eps) / a**0.5, atol=1e-4, rtol=1e-4)


class Retimed(UNet):
    """The embedded prior as if it had been trained in another schedule."""

    scale = 1.0

    def forward(self, x, t, label=None):
        usual, told = Schedule.linear(), (t.double() / self.scale).numpy()
        sigma = np.interp(told, np.arange(len(self.of)), np.log(self.of.sigma_bar))
        as_usual = np.interp(sigma, np.log(usual.sigma_bar), np.arange(1000))
        return super().forward(x, torch.tensor(as_usual, dtype=torch.float32), label)


def retimed(schedule: Schedule, scale: float = 1.0) -> UNet:
    net = load_model(builtin_path())
    net.__class__, net.of, net.scale = Retimed, schedule, scale
    return net


COSINE = Schedule.of("cosine", steps=4000)


def test_a_schedule_that_cannot_be_right_is_doubted_with_numbers():
    assert check_prior(load_prior(builtin_path()).denoiser()) is None
    assert check_prior(EpsDenoiser(retimed(COSINE), COSINE)) is None
    doubt = check_prior(EpsDenoiser(retimed(COSINE), Schedule.linear()))
    assert "schedule: {kind: cosine, steps: 4000} it would be 0.0" in doubt
    rescaled = EpsDenoiser(retimed(COSINE, 0.25), COSINE)
    assert "the same schedule, rescale_timesteps: true" in check_prior(rescaled)
    assert check_prior(EpsDenoiser(retimed(COSINE, 0.25), COSINE, rescale_timesteps=True)) is None
    assert check_prior(EpsDenoiser(make_net(), Schedule.linear())) is None  # no network denoises so


@pytest.mark.parametrize("schedule", [COSINE, Schedule.of("sigmoid", steps=500)])
def test_a_restoration_is_the_same_in_another_schedule(schedule):
    """Noise levels decide, and not the numbers of the timesteps."""
    y = torch.rand(1, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    y = torch.nn.functional.interpolate(y, scale_factor=6, mode="bicubic").clamp(0, 1)
    y = y + 0.1 * torch.randn(y.shape, generator=torch.Generator().manual_seed(1))
    config = SamplerConfig(
        nfe=8, lam=5.0, zeta=0.0, spacing="geometric", sigma_max=1.24, sigma_min=0.05
    )

    def run(denoise):
        return restore(
            denoise, Denoise(), y, schedule=denoise.schedule, config=config, noise_level=0.1,
            noise=noise_stream([0], (3, 48, 48)),
        )  # fmt: skip

    usual = run(load_prior(builtin_path()).denoiser())
    other = run(EpsDenoiser(retimed(schedule), schedule))
    assert (usual - other).abs().mean() < 0.004 < (usual - y).abs().mean()


def test_a_start_beyond_all_use_is_not_made():
    assert Schedule.linear().start == 999
    assert COSINE.sigma_bar[-1] > 10_000 and COSINE.timesteps(10)[0] == COSINE.start < 3999
    zero = Schedule.of("linear", zero_snr=True)
    assert math.isinf(zero.sigma_bar[-1]) and zero.start < 999
    with pytest.raises(ValueError, match="noise alone"):
        zero.timesteps(10, "quad", 999)


class Predicts(UNet):
    """One network, wrapped so that it predicts something else (``self.kind``)."""

    def forward(self, x, t, label=None):
        eps = super().forward(x, t, label)
        a = torch.tensor(self.of.alpha_bar)[t.long().clamp(max=len(self.of) - 1)].to(x)[
            :, None, None, None
        ]
        x0 = (x - (1 - a).sqrt() * eps) / a.sqrt()
        return {"epsilon": eps, "v": a.sqrt() * eps - (1 - a).sqrt() * x0, "x0": x0}[self.kind]


def predicting(kind: str, schedule: Schedule, net: UNet) -> EpsDenoiser:
    net.__class__, net.kind, net.of = Predicts, kind, schedule
    return EpsDenoiser(net, schedule, prediction=kind)


@settings(max_examples=25, deadline=None)
@given(st.integers(1, 950), st.integers(0, 2**31))
def test_one_network_wrapped_three_ways_denoises_alike(t, seed):
    schedule = Schedule.linear()
    x = torch.randn((1, 3, 16, 24), generator=torch.Generator().manual_seed(seed))
    noise, v, x0 = (predicting(k, schedule, make_net())(x, t) for k in ("epsilon", "v", "x0"))
    scale = float(schedule.sigma_bar[t]) + 1
    torch.testing.assert_close(v / scale, noise / scale, atol=2e-5, rtol=0)
    torch.testing.assert_close(x0 / scale, noise / scale, atol=2e-5, rtol=0)


def test_v_has_an_answer_where_nothing_of_the_image_is_left():
    zero = Schedule.of("linear", zero_snr=True)
    x = torch.randn(1, 3, 16, 16)
    net = make_net()
    found = EpsDenoiser(net, zero, prediction="v")(x, 999)
    torch.testing.assert_close(found, -net(x, torch.tensor([999])))


@pytest.mark.parametrize("truth", ["epsilon", "v", "x0"])
@pytest.mark.parametrize("said", ["epsilon", "v", "x0"])
def test_a_prediction_that_cannot_be_right_is_doubted(truth, said):
    denoise = predicting(truth, Schedule.linear(), load_model(builtin_path()))
    doubt = check_prior(replace(denoise, prediction=said))
    if truth == said:
        assert doubt is None
    else:
        assert f"the same schedule, prediction: {truth} it would be 0.0" in doubt
