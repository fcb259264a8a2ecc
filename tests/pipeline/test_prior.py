"""What a job says of its prior, and what is found out before any work."""

import functools
import hashlib
import http.server
import json
import subprocess
import sys
import threading
import warnings
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
import torch

from diffpir import Schedule
from diffpir.checkpoints.checkpoint import save_model
from jobs.fetching import fetch_shown, list_known
from jobs.specfile import JobFileError, make_job, make_model
from manifests.errors import StorageError
from pipeline.errors import PipelineError
from pipeline.prepare import check_model
from pipeline.priors import known
from pipeline.priors.files import files_of_prior, located
from pipeline.priors.hub import repository_of
from pipeline.priors.known import KnownPrior, fetch
from pipeline.spec.base import ABSOLUTE
from pipeline.spec.model import Model
from tests.hub import REPOSITORY, hub
from tests.support import ROOT, make_net


def job(model, **sampler):
    task = {"kind": "denoise", "noise_level": 0.1}
    return make_job(
        {"manifest": "m.csv", "output": "o", "task": task, "model": model, "sampler": sampler}, "x"
    )


@pytest.mark.parametrize(
    "schedule, kind, steps",
    [
        ("cosine", "cosine", 1000),
        (
            {"kind": "linear", "steps": 4000, "beta_end": 0.005},
            "linear",
            4000,
        ),
        ({"steps": 500}, "linear", 500),
        ({"kind": "sigmoid", "zero_snr": True}, "sigmoid", 1000),
    ],
)
def test_schedules_can_be_written(schedule, kind, steps):
    model = Model(path="builtin", schedule=schedule)
    assert Model.model_validate(model.model_dump()) == model
    found = files_of_prior(model).read().diffusion.schedule
    assert (found.kind, len(found)) == (kind, steps)


@pytest.mark.parametrize(
    "schedule, words",
    [
        ("cosin", "model.schedule.kind: "),
        ({"kind": "cosine", "beta_start": 0.1}, "cosine takes no beta_start"),
        ({"beta_start": 0.5, "beta_end": 0.1}, "expected 0 < beta_start <= beta_end < 1"),
        ({"steps": 1}, "model.schedule.steps: "),
        ({"file": "x.npy", "steps": 10}, "file says all: leave out steps"),
        ({"step": 10}, "model.schedule.step: unknown key (did you mean 'steps'?)"),
    ],
)
def test_a_schedule_that_cannot_be_is_refused(schedule, words):
    with pytest.raises(JobFileError) as refused:
        job({"path": "builtin", "schedule": schedule})
    assert words in str(refused.value)


def test_a_table_in_a_file_is_part_of_the_prior(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    np.save("s.npy", Schedule.of("linear").alpha_bar)
    spec = job({"path": "builtin", "schedule": {"file": "s.npy"}})
    assert located(spec.model).schedule.file == str(tmp_path / "s.npy")
    checked, usual = check_model(spec), check_model(job("builtin"))
    assert checked.config == usual.config and checked.digest != usual.digest
    assert usual.diffusion.identity["schedule"]["kind"] == "linear"
    assert len(checked.diffusion.identity["schedule"]["alphas_cumprod_sha256"]) == 64
    np.save("s.npy", np.arange(5.0))
    with pytest.raises(PipelineError, match=r"model: .*s\.npy: .*alphas_cumprod must lie"):
        check_model(spec)


def test_timesteps_that_the_schedule_has_not_are_refused():
    few = {"path": "builtin", "schedule": {"steps": 10}}
    with pytest.raises(PipelineError, match="sampler: first timestep must be from 1 to 9 in"):
        check_model(job(few, method="diffpir", first_timestep=300))
    with pytest.raises(PipelineError, match="sampler: nfe must be from 2 to 10, got 100"):
        check_model(job(few, method="diffpir"))
    with pytest.raises(PipelineError, match="quad spacing would repeat timesteps at nfe=990"):
        check_model(job("builtin", method="diffpir", spacing="quad", nfe=990))


def test_a_wrong_schedule_is_doubted_before_the_job_begins():
    assert check_model(job("builtin")).notes == ()
    (note,) = check_model(
        job({"path": "builtin", "schedule": {"kind": "cosine", "steps": 4000}})
    ).notes
    assert note.startswith("model: a smooth test picture") and "with schedule: linear" in note


def test_options_take_a_model_as_a_job_has_it():
    model = make_model("{path: builtin, schedule: {kind: cosine, steps: 4000}, num_heads: 4}")
    assert (model.schedule.kind, model.num_heads) == ("cosine", 4)
    assert make_model("m.pt") == Model(path="m.pt")


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """A network as diffusers writes it, under ``unet`` and ``scheduler``."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of its own imports
        diffusers = pytest.importorskip("diffusers", reason="diffusers is not installed")
    place = tmp_path_factory.mktemp("diffusers")
    net = diffusers.UNet2DModel(
        block_out_channels=(32, 64), layers_per_block=1, norm_num_groups=16,
        down_block_types=("DownBlock2D", "AttnDownBlock2D"),
        up_block_types=("AttnUpBlock2D", "UpBlock2D"),
    )  # fmt: skip
    net.save_pretrained(place / "unet")
    diffusers.DDPMScheduler(beta_schedule="squaredcos_cap_v2").save_pretrained(place / "scheduler")
    (place / "model_index.json").write_text("{}")
    return place


def test_a_folder_and_a_file_in_it_are_the_same_prior(folder, tmp_path):
    whole = check_model(job(str(folder)))
    file = folder / "unet" / "diffusion_pytorch_model.safetensors"
    one = check_model(job(str(file)))
    assert whole.digest == one.digest and whole.diffusion.identity == one.diffusion.identity
    assert whole.diffusion.schedule.kind == "cosine"
    elsewhere = tmp_path / "w.safetensors"
    elsewhere.write_bytes(file.read_bytes())
    with pytest.raises(PipelineError, match=r"model: .*w\.safetensors: a diffusers network"):
        check_model(job(str(elsewhere)))
    told = {"path": str(elsewhere), "config": str(folder / "unet" / "config.json")}
    assert check_model(job(told)).digest == whole.digest
    # A file of another program with that name says nothing.
    own = save_model(make_net(), tmp_path / "own.safetensors")
    alone = check_model(job(str(own))).digest
    (tmp_path / "config.json").write_text(json.dumps({"colour": "green"}))
    assert check_model(job(str(own))).digest == alone
    assert alone == hashlib.sha256(own.read_bytes()).hexdigest()


def test_folders_without_a_network_are_refused(folder, tmp_path):
    with pytest.raises(PipelineError, match="a folder without a diffusers network"):
        check_model(job(str(tmp_path)))
    (tmp_path / "vae").mkdir()
    (tmp_path / "vae" / "config.json").write_text("{}")
    with pytest.raises(PipelineError, match="pipeline on latents"):
        check_model(job(str(tmp_path)))


@pytest.mark.parametrize(
    "text, name, revision",
    [
        ("google/ddpm-celebahq-256", "google/ddpm-celebahq-256", None),
        ("org/name@v1.0", "org/name", "v1.0"),
        ("org/name@refs/pr/3", "org/name", "refs/pr/3"),
        ("hf://org/name@main", "org/name", "main"),
        ("hf://org/name", "org/name", None),
    ],
)
def test_repositories_of_the_hub_are_told_from_paths(text, name, revision):
    found = repository_of(text)
    assert (found.name, found.revision) == (name, revision)
    spec = job(text)
    dumped = spec.model_dump(mode="json", context=ABSOLUTE)
    assert dumped["model"]["path"] == text == located(spec.model).path


@pytest.mark.parametrize(
    "text",
    ["m.pt", "models/m.pt", "/org/name", "s3://bucket/name", "hf://org/name/m.pt", "a/b/c", "ffhq",
     "hf://datasets/org"],
)  # fmt: skip
def test_paths_are_not_repositories(text):
    assert repository_of(text) is None


def test_what_lies_here_under_that_path_wins(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "org" / "name").mkdir(parents=True)
    assert repository_of("org/name") is None
    assert located(Model(path="org/name")).path == str(tmp_path / "org" / "name")


# In a process of its own: the library reads the endpoint when it is imported.
HUB = """
import sys, torch
from pipeline.priors.files import files_of_prior
from pipeline.spec.model import Model
files = files_of_prior(Model(path=sys.argv[1]))
print(files.location, files.digest(), files.load(torch.float32).diffusion.schedule.kind)
"""


def test_a_model_of_the_hub_is_fetched_once_at_its_commit(folder, tmp_path, monkeypatch):
    monkeypatch.setenv("HF_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("HF_HUB_DISABLE_XET", "1")

    def load(name):
        command = [sys.executable, "-W", "ignore", "-c", HUB, name]
        return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=300)

    with hub(folder) as endpoint:
        monkeypatch.setenv("HF_ENDPOINT", endpoint)
        first = load(REPOSITORY)
        assert first.returncode == 0, first.stderr
        expected = f"hf://{REPOSITORY}@{'a' * 40} {check_model(job(str(folder))).digest} cosine"
        assert first.stdout.strip() == expected
        absent = load("org/absent")
        assert "there is no such model on the hub" in absent.stderr
    offline = load(f"hf://{REPOSITORY}@{'a' * 40}")  # the server is gone
    assert offline.stdout == first.stdout, offline.stderr
    assert "the hub does not answer, and it was not fetched before" in load("org/other").stderr


@contextmanager
def served(path: Path):
    handler = functools.partial(http.server.SimpleHTTPRequestHandler, directory=str(path))
    handler.log_message = lambda *_: None
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


def test_a_known_prior_is_fetched_once_and_verified(tmp_path, monkeypatch):
    monkeypatch.setenv("DIFFPIR_CACHE", str(tmp_path / "cache"))
    (tmp_path / "web").mkdir()
    file = tmp_path / "web" / "m.pt"
    torch.save(make_net().state_dict(), file)
    digest = hashlib.sha256(file.read_bytes()).hexdigest()
    with served(tmp_path / "web") as url:
        entry = KnownPrior(url=f"{url}/m.pt", about="a test", licence="MIT", sha256=digest)
        monkeypatch.setitem(known.KNOWN, "known", entry)
        spec = job({"path": "known", "num_heads": 1})
        assert check_model(spec).digest == digest and check_model(spec).location == "known"
        told: list = []
        kept = fetch("known", lambda done, total: told.append((done, total)))
        assert not told and fetch_shown("known") == str(kept)  # it is here
        kept.unlink()
        assert fetch_shown("known") == str(kept)
        with pytest.raises(PipelineError, match="'knwn' is none of ffhq, imagenet"):
            fetch_shown("knwn")
        kept.unlink()
        fetch("known", lambda done, total: told.append((done, total)))
        assert told[-1] == (file.stat().st_size, file.stat().st_size)
        # Another file in its place, and one whose digest nobody knew at first.
        unknown = KnownPrior(url=f"{url}/m.pt", about="a test", licence="MIT")
        monkeypatch.setitem(known.KNOWN, "unknown", unknown)
        fetch("unknown").unlink()
        kept.unlink()
        torch.save(make_net(seed=1).state_dict(), file)
        assert "known: a test" in list_known() and "not fetched" in list_known()
        for name in ("known", "unknown"):
            with pytest.raises(StorageError, match=rf"{name}: .*expected {digest}"):
                fetch(name)
    with pytest.raises(PipelineError, match="model: http"):
        check_model(spec)
    assert [f.name for f in (tmp_path / "cache" / "models").iterdir()] != []
    assert not [f for f in (tmp_path / "cache" / "models").iterdir() if f.suffix == ".pt"]
