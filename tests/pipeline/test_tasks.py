"""Each task from a row's picture to restored pixels, by the restorer alone."""

from __future__ import annotations

import dataclasses

import numpy as np
import pyarrow as pa
import pytest
import torch
from scipy.ndimage import convolve, gaussian_filter

from diffpir import SamplerConfig, bayer
from diffpir.checkpoints.checkpoint import save_model
from diffpir.kernels import gaussian_kernel
from diffpir.operators import MixChannels
from pipeline.arrays import pack, unpack
from pipeline.errors import PipelineError, RowError
from pipeline.restoring.problem import baseline_of, build_problem, operator_of, start_of
from pipeline.restoring.restorer import Restorer
from pipeline.schema import GENERATION, INDEX, SHARD
from pipeline.spec.job import JobSpec
from pipeline.steps.table import INPUTS
from pipeline.tasks.assets import Assets
from pipeline.tasks.linear import users_operator
from pipeline.tasks.row import Inputs
from pipeline.users_code import code_digests
from tests.pictures import photograph
from tests.support import TINY, make_net, versions_of

KERNEL = gaussian_kernel(9, 1.5)
BLURRED = {"kind": "deblur", "kernel": {"gaussian": {"std": 1.5}}}


def spec_of(task: dict, **settings) -> JobSpec:
    content = {
        "manifest": "m.csv",
        "output": "out",
        "sampler": {"nfe": 2},
        "precision": "fp32",
        "task": {"noise_level": 0.02, **task},
    }
    return JobSpec.model_validate({**content, **settings})


def restored(spec: JobSpec, model: str, inputs: list[dict]) -> tuple[list[np.ndarray], pa.Table]:
    """Pixels of each row, and the whole table."""
    count = len(inputs)
    table = pa.table(
        {
            SHARD: pa.repeat(0, count),
            GENERATION: pa.repeat(0, count),
            INDEX: pa.array(range(count), pa.int64()),
            "row": pa.array([{"id": str(i), "image": "x"} for i in range(count)]),
            "error": pa.repeat("", count),
            "error_kind": pa.repeat("", count),
            **{name: pack([one.get(name) for one in inputs]) for name in INPUTS},
        }
    )
    versions = dataclasses.replace(versions_of(model), code=code_digests(spec))
    done = Restorer(spec, Assets(), model, versions, batch_pixels=2**17, threads=1)(table)
    assert done["error"].to_pylist() == [""] * count
    return unpack(done["pixels"]), done


def photo(width: int, height: int, grey: bool = False) -> np.ndarray:
    picture = photograph(width, height)
    return np.asarray(picture.convert("L") if grey else picture)


@pytest.mark.parametrize("width, height", [(16, 16), (17, 23), (70, 16)])
@pytest.mark.parametrize(
    "task, factor",
    [
        ({"kind": "denoise"}, 1),
        ({"kind": "deblur", "kernel": {"gaussian": {"size": 9, "std": 1.5}}}, 1),
        ({"kind": "sr", "factor": 5}, 5),
        ({"kind": "colorize"}, 1),
    ],
    ids=lambda value: value.get("kind") if isinstance(value, dict) else "",
)
def test_any_size_is_restored_in_its_own(tiny_model, task, factor, width, height):
    picture = photo(width, height)
    (result,), _ = restored(spec_of(task), tiny_model, [{"image": picture}])
    assert result.shape == (height * factor, width * factor, 3) and result.dtype == np.uint8


def test_a_large_image_is_restored_in_tiles_with_and_without_others():
    spec = spec_of({"kind": "denoise"}, tile=256)
    large, small = photo(300, 280), photo(64, 48)
    (a, b, c), _ = restored(spec, "builtin", [{"image": p} for p in (large, small, large)])
    (alone,), _ = restored(spec, "builtin", [{"image": large}])
    assert a.shape == c.shape == large.shape and b.shape == small.shape
    # A batch adds up in another order.
    assert np.abs(a.astype(int) - alone.astype(int)).max() <= 1


def test_a_photograph_is_taken_to_go_on_beyond_its_border(tiny_model):
    kernel = {"gaussian": {"size": 9, "std": 1.5}}
    spec = spec_of({"kind": "deblur", "kernel": kernel})
    problem = build_problem({"id": "a", "image": "x"}, Inputs(photo(40, 30)), spec, Assets())
    scene = operator_of([problem]).initial(problem.y)
    assert problem.task.boundary_in(problem.mode) == "unknown"
    assert scene.shape[2] >= 30 + 8 and scene.shape[3] >= 40 + 8
    circular = spec_of({"kind": "deblur", "kernel": kernel, "boundary": "circular"})
    problem = build_problem({"id": "a", "image": "x"}, Inputs(photo(40, 30)), circular, Assets())
    assert operator_of([problem]).initial(problem.y).shape[2:] == (30, 40)
    benchmark = spec_of({"kind": "deblur", "kernel": kernel}, mode="benchmark")
    assert benchmark.task.boundary_in(benchmark.mode) == "circular"


@pytest.mark.parametrize("boundary, scipy_mode", [("circular", "wrap"), ("reflect", "reflect")])
def test_a_benchmark_blurs_as_its_boundary_says(boundary, scipy_mode):
    kernel = np.random.default_rng(0).random((5, 7))
    kernel /= kernel.sum()
    clean = photo(41, 33)
    task = {"kind": "deblur", "noise_level": 0, "boundary": boundary}
    problem = build_problem(
        {"id": "a", "image": "x"},
        Inputs(clean, kernel=kernel),
        spec_of(task, mode="benchmark"),
        Assets(),
    )
    for c in range(3):
        wanted = convolve(clean[:, :, c] / 255, kernel, mode=scipy_mode)
        np.testing.assert_allclose(problem.y[0, c], wanted, atol=1e-5)
    assert problem.reference.shape[2:] == (33, 41)


@pytest.mark.parametrize("kind", ["denoise", "deblur", "sr", "inpaint"])
@pytest.mark.parametrize("stored", [1, 3])
def test_a_benchmark_measures_a_grey_picture_once(kind, stored):
    # Three looks at the same grey would make it easier than it is.
    clean = photo(40, 32, grey=True)
    picture = clean if stored == 1 else np.dstack([clean] * 3)
    task = {"kind": kind, "noise_level": 0.1, **({"factor": 2} if kind == "sr" else {})}
    mask = np.arange(40 * 32).reshape(32, 40) % 2 == 0
    inputs = Inputs(picture, kernel=KERNEL, mask=mask)
    spec = spec_of(task, mode="benchmark")
    problem = build_problem({"id": "a", "image": "x"}, inputs, spec, Assets())
    clean_spec = spec_of({**task, "noise_level": 0}, mode="benchmark")
    noiseless = build_problem({"id": "a", "image": "x"}, inputs, clean_spec, Assets())
    noise = (problem.y - noiseless.y).numpy()
    np.testing.assert_allclose(noise, noise[:, :1].repeat(3, axis=1), atol=1e-6)
    assert noise[noise != 0].std() == pytest.approx(0.1, rel=0.1)
    assert problem.grey and problem.channels == stored


def test_a_benchmark_of_colours_measures_each():
    spec = spec_of({"kind": "denoise", "noise_level": 0.1}, mode="benchmark")
    problem = build_problem({"id": "a", "image": "x"}, Inputs(photo(40, 32)), spec, Assets())
    noise = (problem.y - problem.reference)[0].flatten(1).numpy()
    assert np.abs(np.corrcoef(noise) - np.eye(3)).max() < 0.1 and not problem.grey


@pytest.mark.parametrize("factor", [1, 3])
def test_a_benchmark_of_an_unknown_border_keeps_what_the_blur_saw_whole(factor):
    kernel = np.random.default_rng(0).random((6, 7))
    kernel /= kernel.sum()
    clean = photo(61, 53)
    task = {"kind": "deblur"} if factor == 1 else {"kind": "sr", "factor": factor}
    spec = spec_of({**task, "noise_level": 0, "boundary": "unknown"}, mode="benchmark")
    inputs = Inputs(clean, kernel=kernel)
    problem = build_problem({"id": "a", "image": "x"}, inputs, spec, Assets())
    height, width = problem.y.shape[2:]
    assert problem.reference.shape[2:] == (height * factor, width * factor)
    assert 53 - 5 - 2 * factor <= height * factor <= 53 - 5
    # Where the frame lies in the picture:
    whole = convolve(clean[:, :, 0] / 255, kernel, mode="constant")
    top, left = 2 + -2 % factor, 3 + -3 % factor
    frame = np.s_[top : top + height * factor, left : left + width * factor]
    np.testing.assert_allclose(problem.reference[0, 0], clean[frame][:, :, 0] / 255, atol=1e-6)
    np.testing.assert_allclose(problem.y[0, 0], whole[frame][::factor, ::factor], atol=1e-5)


def test_what_a_mask_hides_of_a_blurred_picture_does_not_matter(tiny_model):
    spec = spec_of({"kind": "deblur", "boundary": "reflect"})
    picture = photo(48, 40)
    mask = np.ones((40, 48), bool)
    mask[10:20, 15:30] = False
    scribbled = np.where(mask[:, :, None], picture, 255)
    rows = [{"image": p, "kernel": KERNEL, "mask": mask} for p in (picture, scribbled)]
    (a,), _ = restored(spec, tiny_model, rows[:1])
    (b,), _ = restored(spec, tiny_model, rows[1:])
    assert np.array_equal(a, b)


def test_colours_are_given_to_the_luma_that_was_measured(tiny_model):
    grey = photo(40, 30, grey=True)
    grey = np.clip(grey.astype(int) * 3 - 200, 0, 255).astype(np.uint8)
    assert (grey == 0).any() and (grey == 255).any()  # which are no colour's, but grey
    (result,), _ = restored(
        spec_of({"kind": "colorize", "noise_level": 0}), tiny_model, [{"image": grey}]
    )
    assert result.shape == (30, 40, 3) and np.ptp(result, axis=2).max() > 0
    luma = result @ np.array([0.299, 0.587, 0.114])
    assert np.abs(luma - grey).max() < 1


def test_greys_in_three_channels_stay_grey_and_a_file_of_colours(tiny_model):
    grey = photo(40, 30, grey=True)
    thrice = np.dstack([grey] * 3)
    (flat, deep), _ = restored(
        spec_of({"kind": "denoise"}), tiny_model, [{"image": grey}, {"image": thrice}]
    )
    assert flat.shape == (30, 40) and deep.shape == (30, 40, 3)
    assert (deep == deep[:, :, :1]).all()
    problem = build_problem(
        {"id": "a", "image": "x"},
        Inputs(thrice),
        spec_of({"kind": "demosaic", "noise_level": 0}),
        Assets(),
    )
    assert problem.y.shape == (1, 1, 30, 40)  # a mosaic may be stored so as well


@pytest.mark.parametrize("pattern", ["rggb", "bggr", "grbg", "gbrg"])
def test_a_mosaic_without_noise_keeps_its_values(tiny_model, pattern):
    clean = torch.tensor(photo(42, 31)).permute(2, 0, 1)[None] / 255
    mosaic = bayer(31, 42, pattern).forward(clean)[0, 0].numpy()
    first = {"r": 0, "g": 1, "b": 2}[pattern[0]]
    np.testing.assert_allclose(mosaic[0, 0], clean[0, first, 0, 0])
    picture = (mosaic * 255).round().astype(np.uint8)
    spec = spec_of({"kind": "demosaic", "pattern": pattern, "noise_level": 0})
    (result,), _ = restored(spec, tiny_model, [{"image": picture}])
    again = bayer(31, 42, pattern).forward(torch.tensor(result).permute(2, 0, 1)[None].float())
    assert np.abs(again[0, 0].numpy() - picture).max() <= 0.5
    problem = build_problem({"id": "a", "image": "x"}, Inputs(picture), spec, Assets())
    start = baseline_of(problem)
    # A start from each channel's neighbours is nearer to the picture than the mosaic as grey.
    error, as_grey = ((x - clean).square().mean() for x in (start, problem.y))
    assert error < 0.7 * as_grey


def test_sampling_that_starts_late_starts_from_filled_holes():
    spec = spec_of({"kind": "inpaint", "mask": {"random": 0.5}}, mode="benchmark")
    posed = [
        build_problem({"id": name, "image": "x"}, Inputs(photo(32, 24)), spec, Assets())
        for name in "ab"
    ]
    operator, y = operator_of(posed), torch.cat([problem.y for problem in posed])
    assert start_of(posed, operator, y, SamplerConfig()) is None  # drowned in noise at T - 1
    expected = torch.cat([baseline_of(problem) for problem in posed])
    for settings in ({"first_timestep": 60}, {"method": "diffpir-spectral"}):
        filled = start_of(posed, operator, y, SamplerConfig(**settings))
        torch.testing.assert_close(filled, expected, atol=1e-5, rtol=0)


def test_a_mosaic_with_colours_is_refused():
    with pytest.raises(RowError, match="one channel"):
        build_problem(
            {"id": "a", "image": "x"},
            Inputs(photo(40, 30)),
            spec_of({"kind": "demosaic"}),
            Assets(),
        )


def users(name: str, **options) -> dict:
    return {"kind": "linear", "operator": f"tests.operators:{name}", "options": options}


def test_a_users_own_operator_restores_what_it_measured(tiny_model):
    clean = photo(48, 36)
    squeezed = clean.reshape(36, 16, 3, 3).mean(axis=2).round().astype(np.uint8)
    spec = spec_of(users("halves", step=3), sampler={"nfe": 8})
    (result,), done = restored(spec, "builtin", [{"image": squeezed}])
    assert result.shape == clean.shape
    again = result.reshape(36, 16, 3, 3).mean(axis=2)
    assert np.abs(again - squeezed).mean() < 8
    assert done["outcome"].to_pylist()[0]["residual"] < 1.5

    grey = photo(20, 18, grey=True)
    (result,), _ = restored(spec_of(users("halves")), tiny_model, [{"image": grey}])
    assert result.shape == (18, 40)  # grey stays grey
    (result,), _ = restored(spec_of(users("Red")), tiny_model, [{"image": grey}])
    assert result.shape == (18, 20, 3) and np.abs(result[:, :, 0] - grey.astype(int)).mean() < 12


def test_a_users_operator_that_is_none_is_refused_in_words():
    for mode in ("restore", "benchmark"):
        spec = spec_of(users("untrue"), mode=mode)
        with pytest.raises(RowError, match="adjoint is not the transpose of forward"):
            build_problem({"id": "a", "image": "x"}, Inputs(photo(40, 30)), spec, Assets())
    with pytest.raises(RowError, match=r"task\.operator: RuntimeError"):
        inputs = Inputs(photo(40, 30))
        build_problem({"id": "a", "image": "x"}, inputs, spec_of(users("halves", step=0)), Assets())
    for task, words in [
        ({"kind": "linear", "operator": "no_such_module:make"}, "No module named"),
        (users("no_such"), "no_such"),
        (users("halves", width=3), "unexpected keyword argument 'width'"),
        (users("nothing"), "returned NoneType"),
    ]:
        with pytest.raises(PipelineError, match=words):
            users_operator(spec_of(task).task)


def test_an_operator_with_a_data_step_of_its_own_keeps_it():
    task = {"kind": "linear", "operator": "diffpir.operators:luminance"}
    assert isinstance(users_operator(spec_of(task).task), MixChannels)


@pytest.mark.parametrize("boundary", ["circular", "reflect", "unknown"])
def test_zeros_around_a_kernel_do_not_make_it_too_large(boundary):
    kernel = np.zeros((61, 61))
    kernel[28:33, 28:33] = 1 / 25
    spec = spec_of({"kind": "deblur", "boundary": boundary})
    row, inputs = {"id": "a", "image": "x"}, Inputs(photo(40, 30), kernel=kernel)
    assert build_problem(row, inputs, spec, Assets()).arrays["kernel"].shape == (5, 5)


def test_samples_of_a_posterior(tiny_model):
    task = {"kind": "deblur", "kernel": {"gaussian": {"std": 1.5}}, "noise_level": 0.05}
    inputs = [{"image": photo(24, 16)}, {"image": photo(20, 16, grey=True)}]
    asked = {"samples": 5, "uncertainty": True, "keep_samples": True, "mode": "benchmark"}
    (colour, grey), table = restored(spec_of(task, **asked), tiny_model, inputs)
    outcome = table["outcome"].to_pylist()[0]
    drawn = unpack(table["sample_pixels"])
    assert drawn[0].shape == (5, 16, 24, 3) and drawn[1].shape == (5, 16, 20)
    assert np.abs(drawn[0].mean(axis=0) - colour).max() <= 1
    # The first is what one sample gives, whatever the others are.
    (alone, _), _ = restored(spec_of(task, mode="benchmark"), tiny_model, inputs)
    assert np.array_equal(drawn[0][0], alone)
    variance = (drawn[0].var(axis=0, ddof=1) / 255**2).mean(axis=2)
    spread = np.sqrt(gaussian_filter(variance, 2, mode="nearest", truncate=3))
    found = unpack(table["uncertainty_pixels"])[0] / 65535
    assert found.shape == (16, 24)
    np.testing.assert_allclose(found, spread, atol=0.003)
    assert outcome["uncertainty"] == pytest.approx(found.mean(), abs=1e-4)
    assert 0 <= outcome["within_1_std"] <= outcome["within_2_std"] <= 1
    assert grey.shape == (16, 20)
    # With the scale that a benchmark tells, 68.3 % of the true values lie within one deviation.
    scale = {"uncertainty_scale": outcome["uncertainty_scale"]}
    _, table = restored(spec_of(task, **asked, **scale), tiny_model, inputs[:1])
    (scaled,) = table["outcome"].to_pylist()
    assert scaled["within_1_std"] == pytest.approx(0.683, abs=0.01)
    assert scaled["uncertainty"] == pytest.approx(
        outcome["uncertainty"] * outcome["uncertainty_scale"], rel=0.01
    )
    assert scaled["uncertainty_scale"] == pytest.approx(outcome["uncertainty_scale"], rel=1e-6)


@pytest.mark.parametrize(
    "task",
    [
        {"kind": "jpeg", "quality": 30},
        {**BLURRED, "noise_level": 0.02, "then": "jpeg", "quality": 40},
        {"kind": "denoise", "noise": {"gaussian": [0.02, 0.03, 0.05], "poisson": 0.004}},
    ],
    ids=lambda task: "-".join(map(str, task.values())),
)
def test_all_that_is_not_plain_has_samples_and_tiles(task, tmp_path):
    """In tiles of 256 pixels, two samples at once or one after the other."""
    net = make_net(dataclasses.replace(TINY, attention_levels=()))  # attention of tiles is slow
    model = str(save_model(net, tmp_path / "tiny.safetensors"))
    inputs = Inputs(photo(280, 250))
    asked = {"samples": 2, "uncertainty": True, "mode": "benchmark", "tile": 256}
    content = {"manifest": "m.csv", "output": "out", "sampler": {"nfe": 2}, "precision": "fp32"}
    spec = JobSpec.model_validate({**content, **asked, "task": task})
    problem = build_problem({"id": "a", "image": "x"}, inputs, spec, Assets())
    found = []
    for pixels in (2**18, 2**16):
        restorer = Restorer(spec, Assets(), model, versions_of(model), pixels, threads=1)
        (result,) = restorer._restore([problem])
        assert not result.error[0] and result.uncertainty.any()
        assert np.isfinite(result.outcome["residual"]) and result.outcome["uncertainty_scale"] > 0
        found.append(result)
    assert np.abs(found[0].picture.astype(int) - found[1].picture).max() <= 1


def test_how_many_samples_fit_at_a_time_changes_nothing(tiny_model):
    task = {"kind": "inpaint", "mask": {"random": 0.5}}
    spec = spec_of(task, samples=5, estimate="best", uncertainty=True, mode="benchmark")
    image = photo(20, 16)
    problem = build_problem({"id": "a", "image": "x"}, Inputs(image), spec, Assets())
    found = []
    for pixels in (2**17, 2 * 320, 1):
        restorer = Restorer(spec, Assets(), tiny_model, versions_of(tiny_model), pixels, threads=1)
        (result,) = restorer._restore([problem])
        found.append(result)
    for other in found[1:]:
        assert np.abs(other.picture.astype(int) - found[0].picture).max() <= 1
        assert np.abs(other.uncertainty.astype(int) - found[0].uncertainty).max() <= 65


@pytest.mark.parametrize(
    "field", [{"estimate": "best"}, {"uncertainty": True}, {"uncertainty_scale": 2}]
)
def test_what_takes_several_samples(field):
    with pytest.raises(ValueError, match="it takes several samples; set samples to 2 or more"):
        spec_of({"kind": "denoise"}, **field)
