"""The methods to compare with: agreement with their authors' code, and what is refused."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from diffpir import (
    Denoise,
    Downsample,
    Inpaint,
    Linear,
    SamplerConfig,
    Schedule,
    gaussian_kernel,
    luminance,
    noise_stream,
    preset,
    restore,
)
from diffpir.errors import ConfigError
from diffpir.methods.singular import Range
from diffpir.networks.denoiser import EpsDenoiser
from diffpir.rivals import RIVALS
from tests.diffpir.test_sampler import linear_denoiser
from tests.support import golden, make_net

SCHEDULE = Schedule.linear()
SIDE = 12


def operators(mask):
    box = np.zeros((5, 5))
    box[:3, :3] = 1 / 9
    return {
        "blur": Downsample(torch.from_numpy(gaussian_kernel(5, 0.7)).double()),
        "sr": Downsample(torch.from_numpy(box), 3),  # the mean of each 3 x 3 pixels
        "mask": Inpaint(mask),
    }


def recorded(key):
    """The very problem, and the noise, that a method's code was run with: float64, by recipe."""
    method, task, level = key.rsplit("_", 2)
    rng = np.random.RandomState(7)
    clean = torch.from_numpy(rng.rand(1, 3, SIDE, SIDE))
    operator = operators(torch.from_numpy((rng.rand(SIDE, SIDE) > 0.5).astype(float)))[task]
    y = operator.forward(clean)
    y = y + float(level) * torch.from_numpy(rng.randn(*y.shape))
    y = operator.mask * y if task == "mask" else y
    z = torch.from_numpy(rng.randn(1 if method == "hqs" else 6, 1, 3, SIDE, SIDE))
    return method, operator, y, float(level), z


@pytest.mark.parametrize("key", sorted(golden("rivals")))
def test_follows_its_authors_code(key):
    states = golden("rivals")[key]
    method, operator, y, level, noise = recorded(key)
    config, x_start, draws = replace(preset(method), nfe=5), noise[0], iter(noise[1:])
    if method == "hqs":
        least = operator.factor if operator.factor > 1 else 0  # levels of 255 that DPIR ends at
        config, x_start = replace(preset("hqs"), sigma_min=max(2 * least / 255, 0.01)), None
    elif method == "daps":
        rng = np.random.RandomState(11)
        config, x_start = replace(config, nfe=15), 100 * x_start
        draws = (torch.from_numpy(rng.randn(1, 3, SIDE, SIDE)) for _ in range(303))
    elif method in ("ddrm", "red-diff"):  # what it begins with is made of y
        draws, x_start = iter(noise), None
    asked, seen = [], []

    def denoise(x_t, t):
        asked.append(x_t.detach())
        return linear_denoiser(x_t, t)

    restore(
        denoise, operator, y, schedule=SCHEDULE, config=config, noise_level=level,
        noise=draws, x_start=x_start, callback=seen.append,
    )  # fmt: skip
    if method in ("hqs", "daps"):  # the data's part and the prior's, in their order
        names = ("x0_data", "x0_denoised") if method == "hqs" else ("x0_denoised", "x0_data")
        found = [getattr(step, name) for step in seen for name in names]
    else:
        found = [step.x_next for step in seen]
        if len(states) > len(seen):  # with the start
            found = [asked[0], *found]
    assert len(found) == len(states)
    for i, (ours, theirs) in enumerate(zip(found, states, strict=True)):
        error = float((ours - torch.from_numpy(theirs)).abs().max())
        assert error < 2e-5, (i, error)


@pytest.mark.parametrize("name", ["blur", "sr", "mask", "none", "luma"])
@given(seed=st.integers(0, 2**31), power=st.sampled_from([-0.5, 0.5, 1.0, 2.0]))
@settings(max_examples=5, deadline=None)
def test_functions_of_an_operators_eigenvalues(name, seed, power):
    """``spectral`` is the matrix function of ``A A^T``, and what is made of it the SVD's."""
    g = torch.Generator().manual_seed(seed)
    mask = (torch.rand(2, 1, 6, 6, generator=g) > 0.4).double()
    kernels = torch.from_numpy(np.stack([gaussian_kernel(3, s) for s in (0.5, 0.8)])).double()
    operator = {
        "blur": Downsample(kernels),
        "sr": Downsample(kernels, 2),
        "mask": Inpaint(mask),
        "none": Denoise(),
        "luma": luminance(torch.float64),
    }[name]
    units = torch.eye(108, dtype=torch.float64).reshape(108, 1, 3, 6, 6)
    columns = [operator.forward(unit.expand(2, -1, -1, -1)) for unit in units]
    matrices = torch.stack([c.flatten(1) for c in columns], dim=-1)  # (B, m, n)
    x = torch.randn(2, 3, 6, 6, generator=g, dtype=torch.float64)
    seen = Range(operator, "test")
    for i, matrix in enumerate(matrices):
        u, s, vt = torch.linalg.svd(matrix, full_matrices=True)
        s = torch.where(s > 1e-6, s, 0)
        y = operator.forward(x)
        expected = u * (s**2 + 1) ** power @ u.T @ y[i].flatten()
        found = operator.spectral(y, lambda s2: (s2 + 1) ** power)[i].flatten()
        torch.testing.assert_close(found, expected, atol=1e-10, rtol=1e-8)
        inside = s > seen.tolerance
        v = vt[: len(s)][inside]
        c = s[inside] ** power * (v @ x[i].flatten())
        found = seen.scaled(x, lambda s: s**power)[i].flatten()
        torch.testing.assert_close(found, v.T @ c, atol=1e-8, rtol=1e-8)
        rest = x[i].flatten() - v.T @ (v @ x[i].flatten())
        torch.testing.assert_close(seen.unseen(x)[i].flatten(), rest, atol=1e-8, rtol=1e-8)


def restored(method, operator, y, noise_level=0.05, seeds=(1, 2)):
    config = preset(method)
    return restore(
        linear_denoiser,
        operator,
        y,
        schedule=SCHEDULE,
        config=replace(config, nfe=min(config.nfe, 10)),
        noise_level=noise_level,
        noise=noise_stream(seeds, operator.initial(y).shape[1:]),
    )


@pytest.mark.parametrize("method", RIVALS)
def test_every_image_of_a_batch_is_restored_as_if_it_were_alone(method):
    g = torch.Generator().manual_seed(0)
    kernels = torch.from_numpy(np.stack([gaussian_kernel(5, s) for s in (0.6, 1.0)])).float()
    y = Downsample(kernels).forward(torch.rand(2, 3, 16, 16, generator=g))
    levels = torch.tensor([0.05, 0.05] if method == "hqs" else [0.02, 0.1])
    both = restored(method, Downsample(kernels), y, levels)
    for i in range(2):
        one = restored(
            method, Downsample(kernels[i]), y[i : i + 1], float(levels[i]), seeds=[i + 1]
        )
        torch.testing.assert_close(both[i : i + 1], one, atol=2e-4, rtol=0)


@pytest.mark.parametrize("method", RIVALS)
def test_without_noise_known_pixels_are_kept(method):
    g = torch.Generator().manual_seed(0)
    mask = (torch.rand(1, 1, 16, 16, generator=g) > 0.5).float()
    y = mask * torch.rand(2, 3, 16, 16, generator=g)
    out = restored(method, Inpaint(mask), y, noise_level=0.0)
    known = mask.expand_as(y) == 1
    assert torch.equal(out[known], y[known]) and out.isfinite().all()


def test_a_users_operator_does_for_what_needs_no_singular_values():
    g = torch.Generator().manual_seed(0)
    blur = Downsample(torch.from_numpy(gaussian_kernel(3, 0.8)).float())
    operator = Linear(blur.forward, blur.adjoint)
    y = blur.forward(torch.rand(2, 3, 16, 16, generator=g))
    for method, traits in RIVALS.items():
        if traits.spectral:
            with pytest.raises(ValueError, match=f"{method} needs the operator's singular values"):
                restored(method, operator, y)
        else:
            assert restored(method, operator, y).isfinite().all()


def test_hqs_refuses_noise_levels_that_go_through_other_steps():
    with pytest.raises(ValueError, match="restore those apart"):
        restored("hqs", Denoise(), torch.rand(2, 3, 16, 16), torch.tensor([0.05, 0.1]))


@pytest.mark.parametrize(
    "fields, why",
    [
        ({"method": "ddrm", "lam": 3.0}, "lam does not go with the method ddrm"),
        ({"method": "dps", "zeta": 0.9}, "zeta does not go with the method dps"),
        ({"method": "ddnm", "spacing": "karras"}, "spacing does not go with"),
        ({"method": "hqs", "sigma_max": 0.4}, "sigma_min is missing"),
        ({"method": "daps", "nfe": 12}, "multiple of 5"),
    ],
)
def test_settings_that_a_method_does_not_have_are_refused(fields, why):
    with pytest.raises(ConfigError, match=why):
        SamplerConfig(**fields)


def test_what_is_told_of_a_method_is_what_it_has():
    told = preset("ddrm").told()
    assert {k: v for k, v in told.items() if v is not None} == {
        "method": "ddrm", "nfe": 20, "zeta": 0.85**2,
    }  # fmt: skip


def test_a_network_is_differentiated_only_where_that_is_asked_for():
    denoise = EpsDenoiser(make_net().double(), SCHEDULE)
    g = torch.Generator().manual_seed(0)
    # 10 pixels: padded to what the network takes, and cropped again.
    x, d, v = (torch.randn(1, 3, 10, 10, generator=g, dtype=torch.float64) for _ in range(3))
    (gradient,) = torch.autograd.grad(denoise(x.requires_grad_(), 300), x, v)
    x = x.detach()
    assert not denoise(x, 300).requires_grad
    h = 1e-5
    there, back = denoise(x + h * d, 300), denoise(x - h * d, 300)
    expected = ((there - back) / (2 * h) * v).sum()
    torch.testing.assert_close((gradient * d).sum(), expected, rtol=1e-4, atol=1e-6)
