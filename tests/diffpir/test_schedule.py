import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from diffpir import ConfigError, SamplerConfig, Schedule
from diffpir.config import PRESETS, preset
from tests.support import golden


@pytest.fixture(scope="module")
def schedule():
    return Schedule.linear()


def test_agrees_with_the_authors_schedule(schedule):
    g = golden("schedule")
    assert schedule.alpha_bar.dtype == schedule.sigma_bar.dtype == np.float64
    # Theirs is accumulated in float32; sigma_bar at small t cancels there.
    np.testing.assert_allclose(schedule.alpha_bar, g["alphas_cumprod"], rtol=1e-6)
    np.testing.assert_allclose(schedule.sigma_bar, g["sigma_bar"], rtol=1e-4)


@pytest.mark.parametrize("spacing", ["quad", "uniform"])
@pytest.mark.parametrize("nfe", [5, 10, 20, 50, 100])
def test_timesteps_are_the_authors(schedule, nfe, spacing):
    assert schedule.timesteps(nfe, spacing) == golden("schedule")[f"{spacing}_{nfe}"].tolist()


@pytest.mark.parametrize("spacing", ["quad", "uniform"])
@pytest.mark.parametrize("first", [1, 50, 400, 998])
@pytest.mark.parametrize("nfe", [2, 7, 40])
def test_a_later_start_keeps_the_number_of_evaluations(schedule, nfe, spacing, first):
    try:
        steps = schedule.timesteps(nfe, spacing, first)
    except ValueError as e:
        assert "repeat" in str(e) or nfe > first + 1
        return
    assert steps[0] == first and steps[-1] == 0
    assert len(steps) in (nfe, nfe + 1) and (spacing == "uniform" or len(steps) == nfe)
    assert all(t > s for t, s in itertools.pairwise(steps))


@given(
    st.integers(2, 200),
    st.sampled_from(["karras", "geometric"]),
    st.floats(0.01, 150),
    st.floats(0.01, 150),
)
def test_noise_levels_from_one_to_another(schedule, nfe, spacing, one, other):
    low, high = sorted((one, other))
    first, last = schedule.nearest(high), schedule.nearest(low)
    if first - last + 1 < nfe:
        with pytest.raises(ValueError, match="evaluations need as many"):
            schedule.between(nfe, spacing, high, low)
        return
    steps = schedule.between(nfe, spacing, high, low)
    assert (len(steps), steps[0], steps[-1]) == (nfe, first, last)
    assert all(t > s for t, s in itertools.pairwise(steps))


def test_spacings_are_what_they_say(schedule):
    geometric = schedule.sigma_bar[schedule.between(9, "geometric", 4.0, 0.1)]
    np.testing.assert_allclose(geometric, np.geomspace(4.0, 0.1, 9), rtol=0.03)
    karras = schedule.sigma_bar[schedule.between(9, "karras", 4.0, 0.1)]
    expected = np.linspace(4.0 ** (1 / 3), 0.1 ** (1 / 3), 9) ** 3
    np.testing.assert_allclose(karras, expected, rtol=0.03)


@pytest.mark.parametrize("arguments", [(1,), (1001,), (10, "cosine"), (10, "quad", 1000)])
def test_impossible_sequences_are_refused(schedule, arguments):
    with pytest.raises(ValueError):
        schedule.timesteps(*arguments)


@pytest.mark.parametrize(
    "wrong",
    [
        {"nfe": 1},
        {"nfe": 2.5},
        {"nfe": True},
        {"lam": 0},
        {"lam": float("nan")},
        {"zeta": 1.1},
        {"zeta": -0.1},
        {"guidance": float("inf")},
        {"spacing": "cosine"},
        {"final": "raw"},
        {"first_timestep": 0},
        {"prior_std": 0.0},
        {"prior_std": float("inf")},
    ],
)
def test_a_wrong_setting_is_refused_by_name(wrong):
    with pytest.raises(ConfigError, match=next(iter(wrong))):
        SamplerConfig(**wrong)


def test_presets_are_found_by_name():
    assert preset("ffhq-sr4") == SamplerConfig(nfe=100, lam=8, zeta=0.2)
    for name, config in PRESETS.items():
        if config.method == "diffpir":
            assert config.timesteps(Schedule.linear())[0] == 999
        else:
            assert name == config.method
    with pytest.raises(ConfigError, match="ffhq-sr4"):
        preset("ffhq-sr5")


def test_timesteps_of_other_methods():
    """As DDRM's code has them, and OpenAI's respacing, which DPS uses."""
    schedule = Schedule.linear()
    assert schedule.strided(20) == list(range(950, -1, -50))
    assert schedule.even(5) == [999, 749, 500, 250, 0]
    assert schedule.even(1000) == schedule.strided(1000) == list(range(999, -1, -1))
    for steps in (schedule.strided, schedule.even):
        for nfe in (1, 1001):
            with pytest.raises(ValueError, match="nfe must be from 2 to 1000"):
                steps(nfe)
