"""Priors that a factory of the user's own makes; the documentation's examples, run for real."""

from __future__ import annotations

import importlib
import json
import os
import pickle
import re
import sys

import numpy as np
import pyarrow as pa
import pyarrow.dataset as ds
import pyarrow.parquet as pq
import pytest
import torch
from typer.testing import CliRunner

from diffpir import CustomPrior, Schedule, builtin_path, load_model, restore
from diffpir.checkpoints.prior import custom_prior, load_prior
from diffpir.networks.custom_check import check_custom
from diffpir.networks.precision import place
from diffpir.networks.prior_check import check_prior
from diffpir.operators import Denoise
from diffpir.randomness import image_seed, noise_stream
from jobs.cli import app
from jobs.models import convert_model, describe_model
from jobs.specfile import JobFileError, make_job, make_model
from pipeline.errors import PipelineError
from pipeline.prepare import check
from pipeline.priors.prior import prior_of
from pipeline.restoring.restorer import Restorer
from pipeline.run import run_job
from pipeline.spec.model import Model
from pipeline.tasks.assets import Assets
from pipeline.users_code import source_digest
from tests import priors
from tests.pictures import decoded, photograph
from tests.support import ROOT

WIENER = "tests.priors:wiener"
ALLOWED = ["tests"]


def job(folder, model, **settings) -> dict:
    return {
        "manifest": str(folder / "m.parquet"),
        "output": str(folder / "out"),
        "task": {"kind": "denoise", "noise_level": 0.1},
        "sampler": {"nfe": 4, "lam": 1.0, "zeta": 1.0},
        "model": model,
        "actors": 1,
        **settings,
    }


@pytest.fixture
def rows(tmp_path):
    """Two pictures, of which one is cut into tiles."""
    photograph(40, 32).save(tmp_path / "a.png")
    photograph(280, 250, "coffee").save(tmp_path / "b.png")
    table = {"id": ["a", "b"], "image": ["a.png", "b.png"], "label": [1, 2]}
    pq.write_table(pa.table(table), tmp_path / "m.parquet")
    return tmp_path


def results(folder) -> dict[str, dict]:
    table = ds.dataset(folder / "out" / "results", format="parquet").to_table()
    return {row["id"]: row for row in table.to_pylist()}


def test_a_job_with_a_prior_of_the_users_own_is_what_restore_gives(ray_cluster, rows):
    weights = rows / "w.pt"
    torch.save(priors.Wiener(0.3).state_dict(), weights)
    model = {"factory": WIENER, "path": str(weights), "options": {"classes": 3}}
    spec = make_job(job(rows, model, tile=256), "job")
    with pytest.raises(PipelineError, match=r"model\.factory: .* add --allow-code tests"):
        run_job(spec)
    summary = run_job(spec, allow_code=ALLOWED)
    assert (summary.ok, summary.failures) == (2, {})
    prior = custom_prior(priors.wiener(classes=3, path=str(weights)))
    for name, label, picture in (
        ("a", 1, photograph(40, 32)),
        ("b", 2, photograph(280, 250, "coffee")),
    ):
        y = torch.from_numpy(np.asarray(picture).copy()).permute(2, 0, 1)[None] / 255
        direct = restore(
            prior.denoiser(label),
            Denoise(),
            y,
            schedule=prior.diffusion.schedule,
            config=spec.sampler_config(spectral=False),
            noise_level=0.1,
            noise=noise_stream([image_seed(0, name, "sampler")], tuple(y.shape[1:])),
        )
        mine = decoded(results(rows)[name]["restored"]["bytes"]).astype(float)
        expected = (direct[0].clamp(0, 1) * 255).permute(1, 2, 0).numpy()
        assert np.abs(mine - expected).max() <= 1  # pixel by pixel: tiles change nothing
    record = json.loads((rows / "out" / "run.json").read_text())
    told = record["identity"]["model"]
    assert (told["factory"], told["options"]) == (WIENER, {"classes": 3})
    assert record["identity"]["code"]["model.factory"] == source_digest(WIENER)
    assert record["model"] == str(weights)
    # Other options are another job; so are other weights under the same name.
    other = {**model, "options": {"classes": 4}}
    with pytest.raises(PipelineError, match=r"model\.options\.classes was 3, is 4"):
        run_job(make_job(job(rows, other, tile=256), "job"), allow_code=ALLOWED)
    torch.save(priors.Wiener(0.4).state_dict(), weights)
    with pytest.raises(PipelineError, match="model_digest was"):
        run_job(spec, allow_code=ALLOWED)


@pytest.mark.parametrize("prediction", ["epsilon", "v", "x0"])
def test_a_module_with_a_prediction_is_the_same_prior(prediction):
    plain = custom_prior(priors.wiener()).denoiser()
    other = custom_prior(priors.predicting(prediction)).denoiser()
    x = torch.randn(2, 3, 10, 7, generator=torch.Generator().manual_seed(0))
    for t in (0, 300, 900):
        torch.testing.assert_close(other(x, t), plain(x, t), rtol=1e-3, atol=1e-3)
    check_custom(other)


def test_a_prediction_that_is_declared_wrongly_shows():
    def declared(prediction: str):
        net = load_model(builtin_path())
        custom = CustomPrior(network=net, schedule=Schedule.linear(), prediction=prediction)
        return custom_prior(custom).denoiser()

    x = torch.randn(2, 3, 16, 16, generator=torch.Generator().manual_seed(0))
    ours = load_prior(builtin_path()).denoiser()
    torch.testing.assert_close(declared("epsilon")(x, 500), ours(x, 500), rtol=1e-4, atol=1e-4)
    assert check_prior(declared("epsilon")) is None
    doubt = check_prior(declared("v"))
    assert "prediction: epsilon" in doubt and "so in what the factory returns" in doubt
    # A function that takes x_t for the noisy picture itself, at a scale of its own.
    wrong = CustomPrior(network=lambda x, t: 9 * x, schedule=Schedule.linear())
    assert "so it does not denoise" in check_prior(custom_prior(wrong).denoiser())
    assert check_prior(custom_prior(priors.wiener()).denoiser()) is None


def test_precision_is_fp32_unless_the_job_says_otherwise():
    def seen(precision: str) -> torch.dtype:
        net = priors.Types()
        prior = custom_prior(CustomPrior(network=net, schedule=Schedule.linear()))
        place(prior.net, "cpu", precision)
        x0 = prior.denoiser()(torch.randn(1, 3, 8, 8), 100)
        assert x0.dtype is torch.float32 and next(net.parameters()).dtype is torch.float32
        return net.seen

    assert [seen(p) for p in ("auto", "fp32", "bf16")] == [
        torch.float32,
        torch.float32,
        torch.bfloat16,
    ]


@pytest.mark.parametrize(
    "name, words",
    [
        ("nothing", "returned NoneType, expected a diffpir.CustomPrior"),
        ("no_such", "no_such"),
        ("raises", "ValueError: no weights here"),
        ("a_tuple", "returned tuple, expected a tensor"),
        ("smaller", r"of the shape \(2, 3, 32, 32\) for images of the shape \(2, 3, 64, 64\)"),
        ("whole_numbers", "returned int64 of the shape .* expected floating-point numbers"),
        ("not_finite", "gives values that are not finite"),
        ("mixes_a_batch", "another x0 in a batch than alone"),
        ("random", "the same input must have the same answer"),
        ("one_size", "cannot denoise images of 96 x 64 pixels, t = .*: RuntimeError"),
        ("no_schedule", r"schedule must be a diffpir\.Schedule"),
        ("wrong_prediction", "prediction must be epsilon, v, x0"),
    ],
)
def test_what_is_no_prior_is_refused_in_words_before_any_work(rows, name, words):
    spec = make_job(job(rows, {"factory": f"tests.priors:{name}"}), "job")
    with pytest.raises(PipelineError, match=f"model: .*{words}"):
        check(spec, ALLOWED)


def test_a_prior_that_cannot_be_differentiated_is_refused_where_it_must_be(rows):
    spec = make_job(
        job(rows, {"factory": "tests.priors:no_grad"}, sampler={"method": "dps", "nfe": 4}), "job"
    )
    with pytest.raises(PipelineError, match="cannot be differentiated by x_t"):
        check(spec, ALLOWED)
    spec = make_job(job(rows, {"factory": WIENER}, sampler={"method": "dps", "nfe": 4}), "job")
    assert check(spec, ALLOWED).rows == 2


def test_settings_that_belong_to_checkpoints_are_refused(rows):
    for model, words in (
        ({"factory": WIENER, "schedule": "cosine"}, "schedule: what a factory returns says that"),
        ({"factory": "no colon"}, "module:factory|factory"),
        ({"options": {"a": 1}}, "options: they are those of a factory"),
        ({"factory": WIENER, "options": {"path": "x"}}, r"options\.path"),
    ):
        with pytest.raises(JobFileError, match=words):
            make_job(job(rows, model), "job")
    with pytest.raises(JobFileError, match="compile: the network of a model's factory"):
        make_job(job(rows, {"factory": WIENER}, compile=True), "job")
    wide = {"factory": WIENER, "options": {"multiple": 96}}
    with pytest.raises(PipelineError, match="tile: 256 is no multiple of 96"):
        check(make_job(job(rows, wide, tile=256), "job"), ALLOWED)
    with pytest.raises(PipelineError, match="nowhere:make: No module named 'nowhere'; it must be"):
        check(make_job(job(rows, {"factory": "nowhere:make"}), "job"), ["nowhere"])
    with pytest.raises(PipelineError, match="this prior is class-conditional"):
        pq.write_table(pq.read_table(rows / "m.parquet").drop_columns("label"), rows / "m.parquet")
        check(make_job(job(rows, {"factory": WIENER, "options": {"classes": 3}}), "job"), ALLOWED)


def test_an_actor_whose_factory_makes_another_network_stops_the_run(rows):
    spec = make_job(job(rows, {"factory": "tests.priors:unseeded"}), "job")
    checked = check(spec, ALLOWED)
    with pytest.raises(PipelineError, match=r"model\.factory: .* other weights than the one that"):
        Restorer(spec, Assets(), checked.model, checked.versions, batch_pixels=1)
    same = make_job(job(rows, {"factory": WIENER}), "job")
    checked = check(same, ALLOWED)
    Restorer(same, Assets(), checked.model, checked.versions, batch_pixels=1)
    assert checked.model == WIENER


def test_models_inspect_says_what_a_factory_made(tmp_path):
    asked = f"{{factory: {WIENER}, options: {{classes: 3}}, label: 1}}"
    refused = CliRunner().invoke(app, ["models", "inspect", asked])
    assert refused.exit_code and "--allow-code tests" in refused.output
    found = CliRunner().invoke(app, ["models", "inspect", asked, "--allow-code", "tests"])
    assert found.exit_code == 0, found.output
    for words in ("x0, by (x_t, t) with t an int", "linear, steps 1000", "of a blind denoiser's"):
        assert words in found.output
    with pytest.raises(Exception, match="takes a checkpoint, and not the network of a factory"):
        convert_model(make_model(asked), tmp_path / "m.safetensors", "bf16")


# The documentation's examples.

BLOCK = re.compile(r"```python\n# (\w+)\.py\n(.*?)```", re.S)
ARCHITECTURE = {
    "channels": (16, 16),
    "attention_levels": (False, False),
    "norm_num_groups": 8,
    "num_head_channels": 16,
    "num_res_blocks": 1,
}


@pytest.fixture
def examples(tmp_path, monkeypatch):
    """The modules of docs/priors.md, as files that can be imported."""
    blocks = dict(BLOCK.findall((ROOT / "docs" / "priors.md").read_text()))
    for name, code in blocks.items():
        (tmp_path / f"{name}.py").write_text(code)
        monkeypatch.delitem(sys.modules, name, raising=False)
    monkeypatch.syspath_prepend(str(tmp_path))
    yield tmp_path
    for name in blocks:
        sys.modules.pop(name, None)
        source_digest.cache_clear()


def tried(model: dict):
    """The denoiser of a model, after the checks of a job."""
    denoise = prior_of(Model(**model)).load().denoiser()
    check_custom(denoise)
    return denoise


def test_the_example_for_edm(examples):
    net = priors.Preconditioned()
    (examples / "edm.pkl").write_bytes(pickle.dumps({"ema": net}))
    model = {"factory": "edm_prior:make", "path": str(examples / "edm.pkl")}
    denoise = tried(model)
    assert "keeps" in describe_model(Model(**model), ["edm_prior"])
    schedule, t = Schedule.linear(), 400
    x = torch.randn(2, 3, 32, 48, generator=torch.Generator().manual_seed(0))
    sigma = float(schedule.sigma_bar[t])
    expected = net(x / float(schedule.alpha_bar[t]) ** 0.5, torch.full((2,), sigma))
    torch.testing.assert_close(denoise(x, t), expected)


def library(name: str):
    try:
        return importlib.import_module(name)
    except Exception as e:
        if os.environ.get("DIFFPIR_REQUIRE_PRIORS"):
            raise
        pytest.skip(f"{name} cannot be imported ({type(e).__name__}: {e})")


def test_the_examples_for_monai(examples):
    library("monai")
    nets = importlib.import_module("monai.networks.nets")
    schedulers = importlib.import_module("monai.networks.schedulers")
    torch.manual_seed(0)
    net = nets.DiffusionModelUNet(
        spatial_dims=2, in_channels=1, out_channels=1, **ARCHITECTURE
    ).eval()
    for parameter in net.parameters():  # its last convolution begins with zeros
        parameter.data += 0.02 * torch.randn(parameter.shape)
    torch.save(net.state_dict(), examples / "monai.pt")
    model = {"path": str(examples / "monai.pt"), "options": ARCHITECTURE}
    theirs = schedulers.DDPMScheduler(num_train_timesteps=1000)
    x0 = torch.rand(2, 1, 16, 16, generator=torch.Generator().manual_seed(1))
    z = torch.randn(2, 1, 16, 16, generator=torch.Generator().manual_seed(2))
    for name, scene in (("monai_prior", 2 * x0 - 1), ("unit_range_prior", x0)):
        denoise = tried({**model, "factory": f"{name}:make"})
        for t in (20, 400):
            steps = torch.full((2,), t)
            noisy = theirs.add_noise(scene, z, steps)
            with torch.inference_mode():
                eps = net(noisy, steps)
            a = float(theirs.alphas_cumprod[t])
            expected = (noisy - (1 - a) ** 0.5 * eps) / a**0.5
            expected = expected if name == "monai_prior" else 2 * expected - 1
            # The same picture and noise, as a sampler on [-1, 1] has them.
            sigma = float(denoise.schedule.sigma_bar[t])
            root = float(denoise.schedule.alpha_bar[t]) ** 0.5
            scale = 1 if name == "monai_prior" else 2
            x_t = root * (2 * x0 - 1) + root * scale * ((1 - a) / a) ** 0.5 * z
            assert sigma == pytest.approx(scale * ((1 - a) / a) ** 0.5, rel=1e-4)
            torch.testing.assert_close(denoise(x_t, t), expected, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("objective", ["pred_noise", "pred_v", "pred_x0"])
def test_the_example_for_lucidrains(examples, objective):
    ddp = library("denoising_diffusion_pytorch")
    ema = importlib.import_module("ema_pytorch")
    torch.manual_seed(0)
    unet = {"dim": 8, "dim_mults": [1, 2], "flash_attn": False}
    diffusion = {"image_size": 16, "objective": objective}
    process = ddp.GaussianDiffusion(ddp.Unet(**unet), **diffusion).eval()
    # As its Trainer writes it.
    average = ema.EMA(process, beta=0.995, update_every=10)
    saved = {"step": 1, "model": process.state_dict(), "ema": average.state_dict(), "version": "2"}
    torch.save(saved, examples / "model-1.pt")
    denoise = tried(
        {
            "factory": "lucidrains_prior:make",
            "path": str(examples / "model-1.pt"),
            "options": {"unet": unet, "diffusion": diffusion},
        }
    )
    x = torch.randn(2, 3, 16, 16, generator=torch.Generator().manual_seed(1))
    for t in (50, 500):
        with torch.inference_mode():
            expected = process.model_predictions(x, torch.full((2,), t)).pred_x_start
        most = float(expected.abs().max())
        torch.testing.assert_close(denoise(x, t), expected, rtol=1e-3, atol=1e-3 * max(1, most))
