import dataclasses
import itertools
import json

import numpy as np
import pytest
import torch

from diffpir import ConfigError, EpsDenoiser, Schedule, load_model
from diffpir.checkpoints.prior import load_prior
from diffpir.networks.diffusion import Diffusion
from diffpir.training.crops import CropStream
from diffpir.training.trainer import (
    TrainConfig,
    draw_timesteps,
    learning_rate,
    small_net,
    train,
)
from diffpir.training.validation import SIGMAS, denoised_psnr, validation_crops
from tests.support import TINY, make_net

PHOTOS = [
    np.random.default_rng(i).integers(0, 256, (40 + i, 50, 3), np.uint8) // (i + 1)
    for i in range(3)
]


def fit(out, steps, **settings):
    config = TrainConfig(
        **{"steps": steps, "batch": 4, "crop": 16, "warmup": 2, "save_every": 3, **settings}
    )
    return train(PHOTOS, out, TINY, config)


def test_training_learns_and_exports_a_model_that_loads(tmp_path):
    path = fit(tmp_path, 60, lr=2e-3, ema_decay=0.9)
    log = [json.loads(line) for line in (tmp_path / "log.jsonl").read_text().splitlines()]
    assert [entry["step"] for entry in log] == [10, 20, 30, 40, 50, 60]
    # The error of the noise: at low noise it cannot fall far, pictures hide it.
    assert np.mean([entry["loss"] for entry in log[3:]]) < 0.8 * log[0]["loss"]
    denoise = EpsDenoiser(load_model(path), Schedule.linear())
    clean = torch.tensor(PHOTOS[2][:32, :32]).permute(2, 0, 1)[None] / 127.5 - 1
    a = float(denoise.schedule.alpha_bar[300])
    noisy = a**0.5 * clean + (1 - a) ** 0.5 * torch.randn(
        clean.shape, generator=torch.Generator().manual_seed(0)
    )
    before = (noisy / a**0.5 - clean).square().mean()
    assert (denoise(noisy, 300) - clean).square().mean() < 0.3 * before


def test_what_is_kept_for_validation_is_measured_at_each_checkpoint(tmp_path):
    config = TrainConfig(
        steps=60, batch=4, crop=16, warmup=2, lr=2e-3, ema_decay=0.9, save_every=30
    )
    train(PHOTOS[:2], tmp_path, TINY, config, validation=PHOTOS[2:])
    log = [json.loads(x) for x in (tmp_path / "validation.jsonl").read_text().splitlines()]
    assert [entry.pop("step") for entry in log] == [30, 60]
    assert list(log[1]) == [f"psnr_sigma_{s:g}" for s in SIGMAS]
    assert log[1]["psnr_sigma_1"] > log[0]["psnr_sigma_1"]
    # The direct computation, of the model that was exported.
    denoise = EpsDenoiser(load_model(tmp_path / "model.safetensors"), Schedule.linear())
    crops = validation_crops(PHOTOS[2:], 16)
    values = denoised_psnr(denoise, crops, 1.0, batch=7)
    assert values.mean().item() == pytest.approx(log[1]["psnr_sigma_1"], abs=0.02)
    t = int(np.abs(denoise.schedule.sigma_bar - 1).argmin())
    noise = torch.randn(crops.shape, generator=torch.Generator().manual_seed(t))
    a = float(denoise.schedule.alpha_bar[t])
    x0 = denoise(a**0.5 * crops[:1] + (1 - a) ** 0.5 * noise[:1], t).clamp(-1, 1)
    direct = 10 * np.log10(4 / (x0 - crops[:1]).square().mean().item())
    assert values[0].item() == pytest.approx(direct, abs=1e-3)


def test_timesteps_are_drawn_at_edms_noise_levels_and_everywhere():
    schedule, count = Schedule.linear(), 20_000
    g = torch.Generator().manual_seed(0)
    log_sigma = np.log(schedule.sigma_bar[draw_timesteps(schedule, count, 0.0, g).numpy()])
    assert np.median(log_sigma) == pytest.approx(-1.2, abs=0.05)
    assert np.quantile(log_sigma, 0.841) == pytest.approx(0.0, abs=0.05)  # one deviation above
    everywhere = draw_timesteps(schedule, count, 1.0, g)
    assert everywhere.min() == 0 and everywhere.max() == 999
    assert everywhere.float().mean() == pytest.approx(499.5, abs=10)
    mixed = draw_timesteps(schedule, count, 0.25, g)
    assert (mixed > 600).float().mean() == pytest.approx(0.25 * 0.399, abs=0.02)


def test_a_resumed_run_equals_an_unbroken_one(tmp_path):
    whole = fit(tmp_path / "whole", 6)
    crops_seen = []

    class Stop(Exception):
        pass

    class Watched(list):
        def __getitem__(self, i):
            if len(crops_seen) == 4 * 4:
                raise Stop
            crops_seen.append(i)
            return super().__getitem__(i)

    config = TrainConfig(steps=6, batch=4, crop=16, warmup=2, save_every=3)
    with pytest.raises(Stop):  # dies in its fifth step; the last checkpoint is of the third
        train(Watched(PHOTOS), tmp_path / "broken", TINY, config)
    resumed = train(PHOTOS, tmp_path / "broken", TINY, config)
    a, b = (load_model(p).state_dict() for p in (whole, resumed))
    for key in a:
        torch.testing.assert_close(a[key], b[key], rtol=1e-3, atol=1e-4)


def test_another_networks_state_is_refused(tmp_path):
    fit(tmp_path, 3)
    with pytest.raises(ConfigError, match="another network"):
        train(PHOTOS, tmp_path, small_net(), TrainConfig(steps=6, crop=16))


def test_crops_follow_weights_and_their_number():
    stream = CropStream(PHOTOS, [0, 1, 3], 16, seed=1, start=0, stop=2000)
    means = np.array([stream[n].float().mean() for n in range(2000)])
    second = np.mean(means > PHOTOS[2].mean() * 1.25)  # PHOTOS[1] is the brighter of the two
    assert 0.2 < second < 0.3
    later = CropStream(PHOTOS, [0, 1, 3], 16, seed=1, start=5, stop=9)
    assert len(later) == 4 and torch.equal(later[1], stream[6])
    assert not torch.equal(stream[6], CropStream(PHOTOS, None, 16, seed=2, start=0, stop=9)[6])


def test_the_learning_rate_warms_up_and_decays_to_zero():
    config = TrainConfig(steps=100, warmup=10, lr=1.0)
    rates = [learning_rate(step, config) for step in range(101)]
    assert rates[0] == 0.1 and max(rates) == 1.0 and rates[100] == pytest.approx(0)
    assert all(a >= b for a, b in itertools.pairwise(rates[10:]))


@pytest.mark.parametrize("steps", [20, 50, 100])
def test_a_short_run_decays_too(steps):
    config = TrainConfig(steps=steps, lr=1.0)
    rates = [learning_rate(step, config) for step in range(steps)]
    assert max(rates) == 1.0 and rates[-1] < 0.01


def test_a_network_that_learned_its_variance_is_trained_further(tmp_path):
    """As OpenAI's are: six channels out, of which the noise is three."""
    shape = dataclasses.replace(TINY, out_channels=6)
    initial = make_net(shape, seed=1)
    path = train(PHOTOS, tmp_path, shape, TrainConfig(steps=3, batch=2, crop=16), initial=initial)
    after = load_model(path)
    assert after.config == shape
    assert not torch.equal(after.out[2].weight[:3], initial.out[2].weight[:3])


@pytest.mark.parametrize("change", [{"num_classes": 3}, {"in_channels": 6}, {"out_channels": 4}])
def test_a_network_that_crops_do_not_suit_is_refused(tmp_path, change):
    with pytest.raises(ConfigError, match=r"labels|channels in and"):
        train(PHOTOS, tmp_path, dataclasses.replace(TINY, **change), TrainConfig(steps=1, crop=16))


def test_a_state_that_is_none_is_refused(tmp_path):
    state = tmp_path / "state.pt"
    for content, why in ((b"PK", "damaged"), (None, "not a state that this command saved")):
        torch.save({"net": {}}, state)
        if content:
            state.write_bytes(content)
        with pytest.raises(ConfigError, match=why):
            fit(tmp_path, 3)


def test_the_log_of_a_killed_run_says_each_step_once(tmp_path):
    fit(tmp_path, 20, save_every=10)
    with (tmp_path / "log.jsonl").open("a") as log:
        log.write('{"step": 30, "loss": 1}\n{"step": 40, "lo')
    fit(tmp_path, 40, save_every=10)
    steps = [json.loads(line)["step"] for line in (tmp_path / "log.jsonl").read_text().splitlines()]
    assert steps == [10, 20, 30, 40]


def test_what_else_stands_in_a_log_is_kept(tmp_path):
    users = b'{"event": 1}\n[1]\n\xff\n\n{"step": "9"}\nmine\n{half\n' + b"[" * 9999 + b"\n"
    (tmp_path / "log.jsonl").write_bytes(users + b'{"step": 90}\nno end')
    fit(tmp_path, 1)  # not begun yet: no entry is of this run
    assert (tmp_path / "log.jsonl").read_bytes().startswith(users + b'{"step": 90}\nno end')
    (tmp_path / "log.jsonl").write_bytes(users + b'{"step": 90}\n{"step": 1}\n{"step"')
    fit(tmp_path, 1)
    assert (tmp_path / "log.jsonl").read_bytes() == users + b'{"step": 1}\n'
    (tmp_path / "log.jsonl").write_bytes(users + b"no end")
    fit(tmp_path, 1)
    assert (tmp_path / "log.jsonl").read_bytes() == users + b"no end\n"


@pytest.mark.parametrize(
    "wrong",
    [
        {"steps": 0},
        {"batch": 0},
        {"lr": -1.0},
        {"uniform": 3.0},
        {"seed": 2**32},
        {"max_weight": 0},
    ],
)
def test_settings_out_of_range_are_refused(wrong):
    (name,) = wrong
    with pytest.raises(ConfigError, match=f"{name} must be"):
        TrainConfig(**{"steps": 1, **wrong})


@pytest.mark.parametrize("images, crop", [([], 16), (PHOTOS, 15)])
def test_what_cannot_be_trained_on_is_refused(tmp_path, images, crop):
    with pytest.raises(ConfigError):
        train(images, tmp_path, TINY, TrainConfig(steps=1, crop=crop))


def test_the_file_tells_what_its_network_was_trained_in(tmp_path):
    diffusion = Diffusion(
        schedule=Schedule.of("cosine", steps=400), prediction="v", rescale_timesteps=True
    )
    config = TrainConfig(steps=3, batch=2, crop=16, save_every=3)
    path = train(
        PHOTOS, tmp_path, TINY, config, initial=make_net(), diffusion=diffusion, validation=PHOTOS
    )
    assert load_prior(path).diffusion.plain == diffusion.plain
    usual = load_prior(fit(tmp_path / "usual", 3)).diffusion
    assert usual.plain == Diffusion().plain
    with pytest.raises(ConfigError, match="a network of another diffusion"):
        train(PHOTOS, tmp_path, TINY, config)
    with pytest.raises(ConfigError, match="predicts the image itself"):
        train(PHOTOS, tmp_path / "x0", TINY, config, diffusion=Diffusion(prediction="x0"))
