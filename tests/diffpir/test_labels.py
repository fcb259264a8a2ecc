"""Class-conditional networks: a label of each image, and classifier-free guidance."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from diffpir import ConfigError, EpsDenoiser, Schedule
from diffpir.networks.prior_check import check_prior
from diffpir.networks.unet import UNetConfig
from diffpir.tiling import Tiled
from tests.support import TINY, make_net

CLASSES, NULL = 5, 4
NET = make_net(UNetConfig(**{**vars(TINY), "num_classes": CLASSES}))
SCHEDULE = Schedule.linear()
some_labels = st.lists(st.integers(0, CLASSES - 1), min_size=1, max_size=4)


def states(count: int, *shape: int) -> torch.Tensor:
    return torch.randn(count, *shape, generator=torch.Generator().manual_seed(count))


def alone(x: torch.Tensor, label: int, t: int = 300) -> torch.Tensor:
    return EpsDenoiser(NET, SCHEDULE, label)(x, t)


@settings(deadline=None, max_examples=20)
@given(labels=some_labels, cfg=st.sampled_from([0.0, 0.5, 1.0, 1.5, 4.0]))
def test_labels_of_a_batch_are_those_of_its_images_alone(labels, cfg):
    x = states(len(labels), 3, 16, 20)
    guided = EpsDenoiser(NET, SCHEDULE, null_label=NULL, cfg=cfg)(x, 300, labels)
    for one, label, found in zip(x, labels, guided, strict=True):
        without, with_class = (alone(one[None], which)[0] for which in (NULL, label))
        expected = without + cfg * (with_class - without)
        torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4 * max(1, cfg))


def test_guidance_of_1_and_of_0_are_the_network_with_its_class_and_without():
    x = states(3, 3, 16, 16)
    plain = EpsDenoiser(NET, SCHEDULE, 2)(x, 300)
    assert torch.equal(EpsDenoiser(NET, SCHEDULE, 2, null_label=NULL, cfg=1)(x, 300), plain)
    unconditional = EpsDenoiser(NET, SCHEDULE, NULL)(x, 300)
    assert torch.equal(EpsDenoiser(NET, SCHEDULE, 2, null_label=NULL, cfg=0)(x, 300), unconditional)
    assert torch.equal(EpsDenoiser(NET, SCHEDULE, null_label=NULL)(x, 300), unconditional)
    assert not torch.equal(plain, unconditional)
    twice = EpsDenoiser(NET, SCHEDULE, 2, null_label=NULL, cfg=1.5)
    calls: list[tuple[int, ...]] = []
    hook = NET.register_forward_pre_hook(lambda _, args: calls.append(tuple(args[0].shape)))
    twice(x, 300)
    hook.remove()
    assert calls == [(6, 3, 16, 16)] and twice.evaluations == 2


@pytest.mark.parametrize("cfg, at_once", [(1.0, 4), (1.5, 2)])
def test_tiles_have_the_label_of_their_image(cfg, at_once):
    denoise = EpsDenoiser(NET, SCHEDULE, null_label=NULL, cfg=cfg)
    seen: list[int] = []

    def counted(x, t, labels):
        seen.append(len(x))
        return denoise(x, t, labels)

    tiled = Tiled(counted, 32, 16, 4 * 32 * 32, 2, evaluations=denoise.evaluations, few_shapes=True)
    a, b = states(2, 3, 40, 64), states(1, 3, 32, 32)
    x0 = tiled([a, b], 300, [[0, 3], [1]])
    assert max(seen) == at_once  # the network sees no more pixels than it may
    one = Tiled(denoise, 32, 16, 1, 2)
    for x, labels, found in ((a, [0, 3], x0[0]), (b, [1], x0[1])):
        for image, label, mine in zip(x, labels, found, strict=True):
            (expected,) = one([image[None]], 300, [[label]])
            torch.testing.assert_close(mine[None], expected, rtol=1e-4, atol=1e-4)
    assert not torch.allclose(one([a], 300, [[0, 3]])[0], one([a], 300, [[1, 3]])[0], atol=1e-3)


def test_channels_that_are_denoised_apart_share_their_images_label():
    grey = {**vars(TINY), "num_classes": 3, "in_channels": 1, "out_channels": 1}
    denoise = EpsDenoiser(make_net(UNetConfig(**grey)), SCHEDULE)
    x = states(2, 3, 16, 16)
    (together,) = Tiled(denoise, apart=True)([x], 300, [[0, 2]])
    for image, label, found in zip(x, (0, 2), together, strict=True):
        expected = denoise(image[:, None], 300, [label] * 3)[:, 0]
        torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4)


def test_gradients_pass_through_both_evaluations():
    x = states(2, 3, 16, 16).requires_grad_()
    denoise = EpsDenoiser(NET, SCHEDULE, null_label=NULL, cfg=2.0)
    (x0,) = Tiled(denoise)([x], 300, [[0, 1]])
    x0.square().sum().backward()
    assert x.grad is not None and x.grad.isfinite().all() and x.grad.abs().sum() > 0


@pytest.mark.parametrize(
    "settings, words",
    [
        ({"label": CLASSES}, "label from 0 to 4, got 5"),
        ({"null_label": -1}, "null_label from 0 to 4, got -1"),
        ({"label": 1, "cfg": 1.5}, "give the null_label"),
    ],
)
def test_labels_that_are_none_are_refused_in_words(settings, words):
    with pytest.raises(ConfigError, match=words):
        EpsDenoiser(NET, SCHEDULE, **settings)


def test_labels_of_a_call_are_checked():
    x = states(2, 3, 16, 16)
    for labels in ([0], [0, CLASSES], [-1, 0]):
        with pytest.raises(ConfigError, match="expected 2 labels from 0 to 4"):
            EpsDenoiser(NET, SCHEDULE)(x, 300, labels)
    with pytest.raises(ConfigError, match="unconditional network takes no label"):
        EpsDenoiser(make_net(), SCHEDULE)(x, 300, [0, 1])
    assert check_prior(EpsDenoiser(NET, SCHEDULE)) is None  # asked of some class
