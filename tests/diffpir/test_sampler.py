import itertools

import numpy as np
import pytest
import torch

from diffpir import Denoise, Downsample, Inpaint, SamplerConfig, Schedule, gaussian_kernel, restore
from diffpir.data_step import SpectralStep
from diffpir.randomness import drawn_ahead, generator, image_seed, noise_stream
from diffpir.spectrum import PriorSpectrum
from tests.support import golden

SCHEDULE = Schedule.linear()


def linear_denoiser(x, t):
    """The denoiser that the golden trajectories were recorded with."""
    a, m, s2 = float(SCHEDULE.alpha_bar[t]), 0.1, 0.25
    u = m + a**0.5 * s2 / (a * s2 + 1 - a) * (x - a**0.5 * m)
    for dim in (-1, -2):
        u = (u.roll(1, dim) + 2 * u + u.roll(-1, dim)) / 4
    return u


@pytest.mark.parametrize("dtype, tolerance", [(torch.float64, 5e-4), (torch.float32, 2e-3)])
@pytest.mark.parametrize("task", ["deblur", "sr", "inpaint"])
@pytest.mark.parametrize("final", ["denoised", "state"])
def test_follows_the_authors_trajectory(task, dtype, tolerance, final):
    g = golden(f"trajectory_{task}")

    def tensor(name):
        return torch.tensor(g[name]).to(dtype)

    operator = (
        Inpaint(tensor("mask")) if task == "inpaint" else Downsample(tensor("kernel"), int(g["sf"]))
    )
    config = SamplerConfig(
        nfe=int(g["nfe"]),
        lam=float(g["lam"]),
        zeta=float(g["zeta"]),
        guidance=float(g["guidance"]),
        spacing=str(g["skip"]),
        final=final,
    )
    steps = []
    out = restore(
        linear_denoiser,
        operator,
        tensor("y"),
        schedule=SCHEDULE,
        config=config,
        noise_level=float(g["sigma"]),
        noise=tensor("noise")[:, None],
        x_start=tensor("x_start"),
        callback=steps.append,
    )
    evaluated = 8 if final == "denoised" else 7
    assert [step.t for step in steps] == g["t"].tolist()[:evaluated]
    for i, step in enumerate(steps):
        for name in ("x0_denoised", "x0_data", "x_next"):
            if i < 7 or name == "x0_denoised":
                error = getattr(step, name) - torch.tensor(g[name][i : i + 1])
                assert error.abs().max() < tolerance, (name, i)
    last = g["x0_denoised"][-1] if final == "denoised" else g["x_next"][-1]
    expected = (torch.tensor(last)[None] + 1) / 2
    if task == "inpaint" and final == "denoised":
        known = operator.mask.expand_as(out) == 1
        assert torch.equal(out[known], tensor("y")[known])  # sigma_n = 0
        out, expected = out[~known], expected[~known]
    assert (out - expected).abs().max() < tolerance


def run(y, operator=None, noise_level=0.05, noise=None, seeds=(1, 2), **config):
    operator = operator or Denoise()
    shape = tuple(operator.initial(y).shape[1:])
    return restore(
        linear_denoiser,
        operator,
        y,
        schedule=SCHEDULE,
        config=SamplerConfig(**{"nfe": 6, **config}),
        noise_level=noise_level,
        noise=noise if noise is not None else noise_stream(seeds[: len(y)], shape),
    )


def pictures(batch=2, size=16, seed=0):
    return torch.rand(batch, 3, size, size, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("zeta, draws", [(0.0, 1), (0.3, 6)])
def test_draws_noise_for_the_start_and_then_only_where_it_is_used(zeta, draws):
    source = noise_stream([1, 2], (3, 16, 16))
    run(pictures(), noise=itertools.islice(source, draws), zeta=zeta)
    with pytest.raises(ValueError, match="fewer draws"):
        run(pictures(), noise=itertools.islice(source, draws - 1), zeta=zeta)


def test_every_image_of_a_batch_is_restored_as_if_it_were_alone():
    kernels = torch.tensor(np.stack([gaussian_kernel(7, 1.0), gaussian_kernel(7, 2.0)])).float()
    y, sigma = pictures(), torch.tensor([0.02, 0.1])
    both = run(y, Downsample(kernels), sigma)
    for i in range(2):
        alone = run(y[i : i + 1], Downsample(kernels[i]), float(sigma[i]), seeds=[i + 1])
        torch.testing.assert_close(both[i : i + 1], alone, atol=1e-5, rtol=0)


def test_without_noise_known_pixels_are_kept_image_by_image():
    mask = (pictures(1)[:, :1] < 0.5).float()
    y = pictures() * mask
    out = run(y, Inpaint(mask), torch.tensor([0.0, 0.1]))
    known = (mask == 1).expand(1, 3, 16, 16)[0]
    torch.testing.assert_close(out[0][known], y[0][known], atol=1e-7, rtol=0)
    assert (out[1][known] - y[1][known]).abs().max() > 1e-3


@pytest.mark.parametrize(
    "level, why",
    [
        (-0.1, "0 or more"),
        (float("nan"), "0 or more"),
        (torch.tensor([0.1, -0.1]), "0 or more"),
        (torch.tensor([0.1, 0.1, 0.1]), "2 images"),
        (torch.full((2, 1), 0.1), "2 images"),
        (torch.full((3, 1, 1, 1), 0.1), "2 images"),
        (torch.full((2, 1, 1, 2), 0.1), "2 images"),
    ],
)
def test_noise_levels_that_are_none_are_refused(level, why):
    with pytest.raises(ValueError, match=why):
        run(pictures(), noise_level=level)


def test_noise_levels_may_stand_as_they_do_beside_images():
    sigma = torch.tensor([0.02, 0.1])
    given = [run(pictures(), noise_level=level) for level in (sigma, sigma[:, None, None, None])]
    torch.testing.assert_close(*given, atol=0, rtol=0)


def test_what_the_data_step_is_told_of_noise_and_prior():
    """rho_t of the paper (algorithm 1), and bounded as in Song et al. 2023 (PiGDM)."""
    asked = []

    class Recorder(Denoise):
        def prox(self, x, y, rho):
            asked.append(rho)
            return super().prox(x, y, rho)

    schedule = Schedule.linear()
    for bound, level in ((None, 0.05), (1.0, 0.05), (0.5, torch.tensor([0.05, 0.0]))):
        asked.clear()
        config = SamplerConfig(nfe=4, lam=7, prior_std=bound)
        y = pictures()
        restore(
            lambda x, t: x, Recorder(), y, schedule=schedule, config=config,
            noise_level=level, noise=noise_stream(range(len(y)), y.shape[1:]),
        )  # fmt: skip
        sigma2 = torch.as_tensor(level).clamp(min=0.001) ** 2
        for t, rho in zip(config.timesteps(schedule), asked, strict=False):
            spread = schedule.sigma_bar[t] ** -2 + (0 if bound is None else bound**-2)
            torch.testing.assert_close(
                torch.as_tensor(rho), (7 * sigma2 * spread).float(), check_dtype=False
            )
        assert len(asked) == 3


SPECTRUM = PriorSpectrum(
    sigmas=(0.05, 1.0),
    frequencies=(0.05, 0.7),
    error=(((0.02, 0.001),) * 3, ((0.5, 0.01),) * 3),
    pictures=((1.0, 0.01),) * 3,
)


def spectral(**settings):
    usual = dict(nfe=5, lam=4.0, zeta=1.0, spacing="geometric", sigma_max=1.0, sigma_min=0.05)
    return SamplerConfig(method="diffpir-spectral", **usual | settings)


def test_the_spectral_method_is_what_its_equations_say():
    """Written out in ``v = x_t / sqrt(abar_t) = x0 + sigma z``."""
    y = pictures().double()
    operator = Downsample(torch.from_numpy(gaussian_kernel(5, 1.0)).double())
    draws = list(itertools.islice(noise_stream([1, 2], (3, 16, 16)), 6))
    draws = [draw.double() for draw in draws]
    config = spectral(relax=0.3)
    steps = []
    found = restore(
        linear_denoiser,
        operator,
        y,
        schedule=SCHEDULE,
        config=config,
        noise_level=0.05,
        noise=draws,
        spectrum=SPECTRUM,
        callback=steps.append,
    )
    towards_data = SpectralStep(operator, 2 * y - 1, 4.0 * 0.05**2, SPECTRUM)
    timesteps = config.timesteps(SCHEDULE)
    sigmas = SCHEDULE.sigma_bar[timesteps].tolist()
    v = towards_data.start(2 * y - 1) + sigmas[0] * draws[0]
    hat = None
    for i, t in enumerate(timesteps):
        x0 = linear_denoiser(float(SCHEDULE.alpha_bar[t]) ** 0.5 * v, t).clamp(-1, 1)
        assert torch.allclose(steps[i].x0_denoised, x0, atol=1e-10)
        relaxed = x0 if hat is None else 0.7 * x0 + 0.3 * hat
        if i == len(timesteps) - 1:
            break
        hat = towards_data(relaxed, sigmas[i])
        v = hat + sigmas[i + 1] * towards_data.fresh(draws[i + 1], sigmas[i + 1])
    assert torch.allclose(found, (relaxed + 1) / 2, atol=1e-10)


def test_the_spectral_method_starts_from_the_colour_of_the_guess():
    y = pictures()
    operator = Inpaint(torch.zeros(16, 16))  # nothing was measured
    guess = torch.full_like(y, 0.7)
    states = []
    restore(
        lambda x, t: states.append(x / float(SCHEDULE.alpha_bar[t]) ** 0.5) or x * 0,
        operator,
        0 * y,
        schedule=SCHEDULE,
        config=spectral(),
        noise_level=0.05,
        noise=[torch.zeros_like(y)] * 6,
        guess=guess,
        spectrum=SPECTRUM,
    )
    assert torch.allclose(states[0], torch.full_like(y, 0.4), atol=1e-5)


def test_the_spectral_method_needs_a_spectrum():
    with pytest.raises(ValueError, match="needs the prior's error spectrum"):
        run(pictures(), method="diffpir-spectral")


def test_every_image_of_a_spectral_batch_is_restored_as_if_it_were_alone():
    y, levels = pictures(), torch.tensor([0.02, 0.2])
    mask = (torch.rand(2, 1, 16, 16, generator=torch.Generator().manual_seed(1)) > 0.5).float()

    def restored(y, mask, levels, seeds):
        return restore(
            linear_denoiser,
            Inpaint(mask),
            mask * y,
            schedule=SCHEDULE,
            config=spectral(relax=0.5),
            noise_level=levels,
            noise=noise_stream(seeds, (3, 16, 16)),
            spectrum=SPECTRUM,
        )

    both = restored(y, mask, levels, [1, 2])
    for i in (0, 1):
        one = restored(y[i : i + 1], mask[i : i + 1], levels[i : i + 1], [i + 1])
        assert (one - both[i : i + 1]).abs().max() < 1e-4


def test_guidance_zero_ignores_the_measurement():
    results = [run(pictures(seed=seed), guidance=0.0, first_timestep=999) for seed in (1, 2)]
    # Only the start still knows the measurement, damped by sqrt(abar_999) = 0.006.
    assert (results[0] - results[1]).abs().max() < 0.02


def test_results_are_on_the_unit_range_and_a_later_start_is_taken():
    out = run(pictures(), first_timestep=200)
    assert out.min() >= 0 and out.max() <= 1
    assert not torch.equal(out, run(pictures()))


def test_image_seeds_differ_by_seed_id_and_purpose_and_never_change():
    seeds = {
        image_seed(seed, image_id, purpose)
        for seed in (0, 1)
        for image_id in ("a", "b", "")
        for purpose in ("noise", "mask")
    }
    assert len(seeds) == 12 and all(0 <= s < 2**63 for s in seeds)
    assert image_seed(0, "a", "noise") == image_seed(0, "a", "noise")


def test_all_bits_of_a_seed_count():
    draws = [next(noise_stream([seed], (3, 4, 5))) for seed in (5, 5 + 2**32, 5 + 2**62)]
    assert not torch.equal(draws[0], draws[1]) and not torch.equal(draws[0], draws[2])


def test_the_noise_of_an_image_does_not_depend_on_its_batch():
    together = noise_stream([7, 8, 9], (3, 4, 5))
    alone = noise_stream([8], (3, 4, 5))
    for _ in range(3):
        assert torch.equal(next(together)[1:2], next(alone))
    draws = torch.cat([next(alone) for _ in range(400)])
    assert abs(draws.mean()) < 0.02 and abs(draws.std() - 1) < 0.02


def test_noise_that_is_drawn_ahead_is_the_same():
    ahead = drawn_ahead([generator(seed) for seed in (7, 8, 9)], (3, 4, 5))
    for drawn, usual in zip(
        itertools.islice(ahead, 4), noise_stream([7, 8, 9], (3, 4, 5)), strict=False
    ):
        np.testing.assert_array_equal(drawn, usual.numpy())
