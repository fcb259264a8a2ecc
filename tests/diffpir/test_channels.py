"""Priors of other channels than three: one for each channel of an image, or as many as it has."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from diffpir.checkpoints.checkpoint import load_model
from diffpir.config import SamplerConfig
from diffpir.data_step import IsotropicStep, SpectralStep
from diffpir.errors import ConfigError
from diffpir.networks.denoiser import EpsDenoiser
from diffpir.networks.unet import UNet
from diffpir.operators import Denoise, Downsample, Inpaint, PartialBlur
from diffpir.operators.jpeg import BlockDCT
from diffpir.sampler import sample
from diffpir.sampling import together
from diffpir.schedule import Schedule
from diffpir.spectrum import PriorSpectrum, measure_spectrum
from diffpir.tiling import Tiled
from diffpir.training.adapt import with_channels
from diffpir.training.trainer import TrainConfig, check_trainable, train
from tests.support import TINY, make_net

SCHEDULE = Schedule.linear()
KERNEL = torch.rand(3, 3, generator=torch.Generator().manual_seed(4))
KERNEL /= KERNEL.sum()
MASK = (torch.rand(24, 16, generator=torch.Generator().manual_seed(3)) > 0.4).float()
OPERATORS = {
    "denoise": Denoise,
    "blur": lambda: Downsample(KERNEL),
    "sr2": lambda: Downsample(KERNEL, 2),
    "mask": lambda: Inpaint(MASK),
    "unknown": lambda: PartialBlur(KERNEL, (24, 16), boundary="unknown"),
}
GREY = PriorSpectrum.from_plain(
    {
        "sigmas": [0.1, 1.0],
        "frequencies": [0.05, 0.1, 0.2, 0.4, 0.7],
        "error": [[[0.01, 0.005, 0.002, 0.001, 0.0005]], [[0.3, 0.1, 0.03, 0.01, 0.005]]],
        "pictures": [[30.0, 8.0, 2.0, 0.5, 0.1]],
    }
)
SETTINGS = {
    "diffpir": SamplerConfig(nfe=3, zeta=1.0, first_timestep=300),
    "diffpir-spectral": SamplerConfig(
        method="diffpir-spectral", nfe=3, zeta=1.0, spacing="karras", sigma_max=2.0, sigma_min=0.1
    ),
}


def drawn(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.rand(shape, generator=torch.Generator().manual_seed(seed))


@pytest.fixture(scope="module")
def grey_prior() -> Tiled:
    net = make_net(replace(TINY, in_channels=1, out_channels=1))
    return Tiled(EpsDenoiser(net, SCHEDULE), multiple=2, apart=True)


@pytest.mark.parametrize("method", SETTINGS)
@pytest.mark.parametrize("name", OPERATORS)
def test_a_grey_prior_restores_each_of_equal_channels_as_it_does_a_grey_image(
    name, method, grey_prior
):
    operator = OPERATORS[name]()
    y = operator.forward(drawn(2, 1, 24 + 2 * (name == "unknown"), 16 + 2 * (name == "unknown")))
    shape = operator.initial(y).shape
    noise = [2 * drawn(*shape, seed=seed) - 1 for seed in range(4)]

    def restored(channels: int) -> torch.Tensor:
        sampling = sample(
            operator,
            y.expand(-1, channels, -1, -1),
            schedule=SCHEDULE,
            config=SETTINGS[method],
            noise_level=torch.tensor([0.05, 0.1]),
            noise=[z.expand(-1, channels, -1, -1) for z in noise],
            spectrum=GREY,
        )
        return together(grey_prior, [sampling])[0]

    grey, colours = restored(1), restored(3)
    assert grey.shape == shape and grey.std() > 0.01
    assert torch.allclose(colours, grey.expand(-1, 3, -1, -1), atol=2e-5)


def test_channels_of_images_of_any_number_are_denoised_apart_and_tiles_share_calls(grey_prior):
    states = [drawn(1, channels, 24, 16, seed=channels) for channels in (1, 3, 7)]
    found = grey_prior(states, 300)
    for x_t, x0 in zip(states, found, strict=True):
        alone = [grey_prior([x_t[:, c : c + 1]], 300)[0] for c in range(x_t.shape[1])]
        assert torch.allclose(x0, torch.cat(alone, dim=1), atol=1e-5)


@given(st.sampled_from((1, 2, 3, 4, 7)), st.booleans())
@settings(max_examples=6, deadline=None)
def test_a_prior_of_any_number_of_channels_denoises_as_many(channels, learned):
    config = replace(TINY, in_channels=channels, out_channels=channels * (1 + learned))
    x0 = EpsDenoiser(make_net(config), SCHEDULE)(drawn(1, channels, 17, 12), 500)
    assert x0.shape == (1, channels, 17, 12) and x0.isfinite().all()


def test_a_network_that_gives_other_channels_than_it_takes_is_none():
    with pytest.raises(ConfigError, match="takes 3 and gives 4"):
        EpsDenoiser(UNet(replace(TINY, out_channels=4)), SCHEDULE)


@given(st.sampled_from((1, 3, 5)), st.floats(0.05, 1.5))
@settings(max_examples=10, deadline=None)
def test_a_constant_spectrum_of_greys_is_the_papers_data_step_in_every_channel(channels, sigma):
    flat = PriorSpectrum.from_plain(
        {**GREY.plain(), "error": np.full((2, 1, 5), sigma**2), "pictures": np.ones((1, 5))}
    )
    operator, x = Downsample(KERNEL.double(), 2), drawn(1, channels, 12, 8).double()
    y = operator.forward(drawn(1, channels, 12, 8, seed=1).double())
    spectral = SpectralStep(operator, y, 0.02, flat)(x, sigma)
    assert torch.allclose(spectral, IsotropicStep(operator, y, 0.02, SamplerConfig())(x, sigma))


def test_the_spectrum_of_greys_is_measured_and_kept():
    pictures = [0.3 + 0.4 * drawn(1, 64, 80, seed=seed) for seed in range(2)]

    def off_by_white_noise(x_t: torch.Tensor, t: int) -> torch.Tensor:
        scene = 2 * pictures[0 if calls[0] % 2 == 0 else 1] - 1
        calls[0] += 1
        error = 0.1 * torch.randn(x_t.shape, generator=torch.Generator().manual_seed(calls[0]))
        return scene[None] + error

    calls = [0]
    spectrum = measure_spectrum(off_by_white_noise, pictures, schedule=SCHEDULE, evaluations=20)
    assert spectrum.channels == 1 and np.shape(spectrum.error) == (10, 1, 20)
    again = PriorSpectrum.from_plain(spectrum.plain())
    assert np.allclose(again.error, spectrum.error, rtol=1e-3)
    assert np.array(spectrum.error)[:, 0, 12:] == pytest.approx(0.01, rel=0.25)
    with pytest.raises(ValueError, match="1 channel, or all of them 3"):
        measure_spectrum(off_by_white_noise, [drawn(2, 64, 64)] * 2, schedule=SCHEDULE)


def test_coefficients_of_a_grey_jpeg_vary_as_its_one_channel_does():
    x = torch.randn(1, 1, 64, 64, generator=torch.Generator().manual_seed(0))
    for channels in (1, 3):
        transform = BlockDCT((64, 64), [(1, 1)], channels=channels)
        white = x if channels == 1 else torch.cat([x, x.flip(2), x.flip(3)], dim=1)
        (found,) = transform.forward(white)
        variance = (found - found.mean(dim=(1, 2), keepdim=True)).var().item()
        assert variance == pytest.approx(transform.variances[0], rel=0.1)


@given(st.sampled_from(((3, 1), (1, 3), (3, 5))))
@settings(max_examples=3, deadline=None)
def test_a_network_begins_another_of_other_channels_as_it_sees_equal_ones(pair):
    taken, wanted = pair
    net = make_net(replace(TINY, in_channels=taken, out_channels=2 * taken))
    adapted = with_channels(net, wanted)
    assert adapted.config == replace(net.config, in_channels=wanted, out_channels=wanted)
    assert with_channels(net, taken) is net
    x, t = drawn(2, 1, 16, 16), torch.tensor([40])
    known = net(x.expand(-1, taken, -1, -1), t)[:, :taken].mean(dim=1, keepdim=True)
    assert torch.allclose(adapted(x.expand(-1, wanted, -1, -1), t), known, atol=1e-4)


def test_a_grey_network_is_trained_and_one_of_five_channels_is_not(tmp_path):
    config = TrainConfig(steps=2, batch=2, crop=16)
    shape = replace(TINY, in_channels=1, out_channels=1)
    pictures = [np.random.default_rng(0).integers(0, 256, (20, 24, 1), np.uint8)]
    path = train(pictures, tmp_path, shape, config, validation=pictures)
    assert load_model(path).config == shape
    assert "psnr_sigma_0.1" in (tmp_path / "validation.jsonl").read_text()
    with pytest.raises(ConfigError, match=r"expected 1 \(grey\) or 3 \(colour\)"):
        check_trainable(replace(TINY, in_channels=5, out_channels=5), config)
