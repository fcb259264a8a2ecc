import pytest
import yaml

from diffpir import SamplerConfig, Schedule
from jobs.specfile import JobFileError, load_job, make_job
from manifests.errors import StorageError
from pipeline.spec.job import JobSpec
from pipeline.tasks.kernels import Gaussian

LINEAR = Schedule.linear()
JOB = """
manifest: m.parquet
output: out
mode: benchmark
task: {kind: deblur, kernel: {gaussian: {size: 61, std: 3.0}}, noise_level: 0.05}
model: builtin
sampler: {nfe: 100, lam: 7, zeta: 0.3}
seed: 0
actors: 1
"""


def load(tmp_path, text: str) -> JobSpec:
    (tmp_path / "job.yaml").write_text(text)
    return load_job(str(tmp_path / "job.yaml"))


def test_a_job_file_is_read_and_survives_being_written(tmp_path):
    spec = load(tmp_path, JOB)
    assert spec.task.kernel.gaussian.size == 61 and spec.sampler_config(False).lam == 7
    assert JobSpec.model_validate_json(spec.model_dump_json()) == spec
    assert make_job(yaml.safe_load(yaml.safe_dump(spec.model_dump(mode="json"))), "x") == spec


@pytest.mark.parametrize(
    "task",
    [
        "{kind: sr, factor: 4, noise_level: 0.05}",
        "{kind: denoise, noise_level: 0.05}",
        "{kind: inpaint, mask: {random: 0.5}}",
        "{kind: inpaint, mask: {box: 128}}",
        "{kind: inpaint}",
        "{kind: deblur, kernel: {motion: {size: 61, intensity: 0.5}}, noise_level: 0}",
        "{kind: deblur, kernel: {gaussian: {size: 61, std: [3, 9]}}, noise_level: 0}",
        "{kind: deblur, kernel: k.npy, noise_level: 0}",
        "{kind: deblur, kernel: {motion: {length: 25, angle: 30}}, noise_level: 1e-2}",
        "{kind: deblur, kernel: {disk: {radius: 4}}, noise_level: 0}",
        "{kind: sr, factor: 2, kernel: {levin: 3}, noise_level: 0}",
        "{kind: sr, factor: 2, kernel: {file: k.npz, name: k3}, noise_level: 0}",
    ],
)
def test_every_kind_of_task_can_be_written(tmp_path, task):
    spec = load(tmp_path, f"{{manifest: m.csv, output: o, mode: benchmark, task: {task}}}")
    assert JobSpec.model_validate(spec.model_dump()) == spec


@pytest.mark.parametrize(
    "given, full",
    [
        ({}, ("png", None, 8)),
        ("webp", ("webp", None, 8)),
        ("jpeg", ("jpeg", 95, 8)),
        ({"format": "jpeg", "quality": 50}, ("jpeg", 50, 8)),
        ({"format": "tiff", "bits": 16}, ("tiff", None, 16)),
    ],
)
def test_pictures_are_files_of_a_format(given, full):
    task = {"kind": "denoise", "noise_level": 0.1}
    spec = make_job({"manifest": "m.csv", "output": "o", "task": task, "picture": given}, "x")
    names = ("format", "quality", "bits", "range")
    picture = dict(zip(names, (*full, "display"), strict=True))
    assert spec.resolved(SamplerConfig())["picture"] == picture
    assert JobSpec.model_validate(spec.model_dump()) == spec


def test_a_gaussian_is_as_large_as_it_needs_to_be():
    sizes = {std: Gaussian.model_validate({"std": std}).size for std in (1, 7.5, 9.0, (3, 20), 500)}
    assert sizes == {1: 61, 7.5: 61, 9.0: 73, (3, 20): 161, 500: 1023}
    assert Gaussian.model_validate({"std": 9, "size": 20}).size == 20


def test_auto_is_a_noise_level_to_restore_by(tmp_path):
    job = JOB.replace("mode: benchmark", "mode: restore").replace("0.05", "auto")
    assert load(tmp_path, job).task.noise_level == "auto"


def test_presets_and_their_replacement():
    spec = make_job(
        {
            "manifest": "m.csv",
            "output": "o",
            "task": {"kind": "sr", "factor": 4, "noise_level": 0},
            "sampler": {"preset": "imagenet-sr4", "nfe": 20},
        },
        "x",
    )
    assert (spec.sampler_config(False).lam, spec.sampler_config(False).nfe) == (9, 20)


def test_a_task_that_starts_late_starts_as_early_as_its_evaluations_need():
    job = {"manifest": "m.csv", "output": "o", "task": {"kind": "demosaic", "noise_level": 0}}
    assert make_job(job, "x").sampler_config(False).timesteps(LINEAR)[0] == 100
    for nfe in (2, 20, 51, 100, 499):
        config = make_job({**job, "sampler": {"nfe": nfe}}, "x").sampler_config(False)
        steps = config.timesteps(LINEAR)
        assert steps[0] == max(100, 2 * nfe) and len(steps) == nfe
    early = make_job({**job, "sampler": {"nfe": 100, "first_timestep": 100}}, "x")
    with pytest.raises(ValueError, match="quad spacing would repeat timesteps at nfe=100"):
        early.sampler_config(False).timesteps(LINEAR)
    early = make_job({**job, "sampler": {"nfe": 100, "first_timestep": 999}}, "x")
    assert early.sampler_config(False).timesteps(LINEAR)[0] == 999
    # The task's own start, written out, goes with the task's own evaluations.
    assert (
        make_job({**job, "sampler": {"first_timestep": 100}}, "x").sampler_config(False).nfe == 50
    )


def deblur_job(**sampler):
    task = {"kind": "deblur", "kernel": {"gaussian": {"std": 2}}, "noise_level": 0.05}
    return make_job({"manifest": "m.csv", "output": "o", "task": task, "sampler": sampler}, "x")


def test_the_method_of_a_prior_with_an_error_spectrum():
    usual = deblur_job().sampler_config(spectral=True)
    assert usual.method == "diffpir-spectral"
    assert deblur_job().sampler_config(spectral=False).method == "diffpir"
    assert deblur_job(method="diffpir").sampler_config(spectral=True).method == "diffpir"
    # A preset's method is the preset's.
    assert deblur_job(preset="ffhq-sr4").sampler_config(spectral=True).method == "diffpir"
    few = deblur_job(nfe=usual.nfe // 2).sampler_config(spectral=True)
    assert few.nfe == usual.nfe // 2 and few.sigma_max and few.first_timestep is None
    assert len(few.timesteps(LINEAR)) == few.nfe
    for noise in (0, 0.01):
        task = {"kind": "demosaic", "noise_level": noise}
        mosaic = make_job({"manifest": "m.csv", "output": "o", "task": task}, "x")
        assert mosaic.sampler_config(spectral=True).method == "diffpir-spectral"


@pytest.mark.parametrize(
    "task",
    [
        {"kind": "deblur", "kernel": {"gaussian": {"std": 2}}, "noise_level": 0},
        {"kind": "sr", "factor": 4, "noise_level": 0},
        {"kind": "linear", "operator": "my.module:make", "noise_level": 0.05},
        {"kind": "colorize"},
    ],
)
def test_tasks_that_keep_the_papers_method(task):
    job = make_job({"manifest": "m.csv", "output": "o", "task": task}, "x")
    assert job.sampler_config(spectral=True).method == "diffpir"


def test_what_goes_with_another_spacing_or_method_alone_is_not_kept():
    changed = deblur_job(spacing="quad").sampler_config(spectral=True)
    assert (changed.sigma_max, changed.sigma_min) == (None, None)
    config = deblur_job(method="diffpir-spectral", preset="builtin-deblur").sampler_config(False)
    assert config.prior_std is None
    late = {"manifest": "m.csv", "output": "o", "task": {"kind": "denoise", "noise_level": 0.1}}
    between = {"spacing": "geometric", "sigma_max": 0.5, "sigma_min": 0.05, "nfe": 10}
    config = make_job({**late, "sampler": between}, "x").sampler_config(False)
    assert config.first_timestep is None and len(config.timesteps(LINEAR)) == 10


@pytest.mark.parametrize(
    "sampler, words",
    [
        ({"prior_std": 1.0}, "prior_std goes with the method diffpir"),
        ({"first_timestep": 100}, "first_timestep goes with quad or uniform"),
        ({"spacing": "quad", "sigma_min": 1.0}, "sigma_min goes with karras or geometric"),
    ],
)
def test_settings_that_do_not_go_together(sampler, words):
    with pytest.raises(JobFileError, match=words):
        deblur_job(method="diffpir-spectral", **sampler)


@pytest.mark.parametrize(
    "old, new, words",
    [
        ("output: out", "outptu: out", ["outptu: unknown key (did you mean 'output'?)"]),
        ("output: out", "", ["output: required"]),
        ("nfe: 100", "nfes: 100", ["sampler.nfes: unknown key (did you mean 'nfe'?)"]),
        ("std: 3.0", "sdt: 3.0", ["task.kernel.gaussian.sdt: unknown key (did you mean 'std'?)"]),
        ("noise_level: 0.05", "noise: 0.05", ["task.noise: expected noise such as {gaussian: "]),
        ("noise_level: 0.05", "noise: {gauss: 1}", ["task.noise.gauss: unknown key (did you mean"]),
        ("noise_level: 0.05", "noise: {gaussian: 2}", ["task.noise.gaussian: must be a number"]),
        ("noise_level: 0.05", "noise: {poisson: [0.1, 0]}", ["poisson: must be a number from 0"]),
        ("noise_level: 0.05", "noise: {gaussian: 0}", ["task.noise: ", "say noise_level: 0"]),
        ("noise_level: 0.05", "noise: {map: m.npy, gaussian: 0.1}", ["or else a map"]),
        ("noise_level: 0.05", "noise: {gaussian: auto}", ["poisson together"]),
        (
            "noise_level: 0.05",
            "noise_level: 0.05, noise: {poisson: 0.1}",
            ["task: noise and noise_level are both given, expected one of them"],
        ),
        (
            "noise_level: 0.05",
            "noise: {gaussian: auto, poisson: auto}",
            ["\n  task.noise: auto belongs to mode restore"],
        ),
        ("noise_level: 0.05", "noise_level: 12.75", ["task.noise_level: ", "got 12.75"]),
        ("noise_level: 0.05", "noise_level: .nan", ["task.noise_level: ", "finite"]),
        ("kind: deblur", "kind: debur", ["task.kind: 'debur' is none of", "'deblur'"]),
        ("kind: deblur, ", "", ["task.kind: required"]),
        ("seed: 0", "cpus: 0.00000001", ["cpus: ", "0.0001", "got 1e-08"]),
        ("seed: 0", "memory: 1.0e+300", ["memory: ", "1000000000", "got 1e+300"]),
        ("seed: 0", "gpus: 0.00000001", ["gpus: a share of one GPU from 0.0001"]),
        ("seed: 0", "resources: {a: 1.0e-9}", ["resources.a: ", "0.0001"]),
        ("seed: 0", "picture: gif", ["picture.format: ", "'png'", "'gif'"]),
        ("seed: 0", "picture: {quality: 0, format: webp}", ["picture.quality: ", "got 0"]),
        ("seed: 0", "picture: {quality: 9}", ["picture: quality: png is lossless"]),
        ("seed: 0", "picture: {bits: 16, format: webp}", ["picture: bits: webp has 8 bits"]),
        ("seed: 0", "picture: {bits: 12}", ["picture.bits: ", "8, 16 or 32"]),
        ("nfe: 100", "nfe: 1", ["sampler: nfe must be a whole number of 2 or more, got 1"]),
        ("nfe: 100", "preset: ffqh", ["sampler: no preset 'ffqh'; there are ffhq-sr4"]),
        ("gaussian: {size: 61, std: 3.0}", "levine: 3", ["task.kernel.levine: unknown key"]),
        (
            "gaussian: {size: 61, std: 3.0}",
            "gaussian: {}, motion: {}",
            ["task.kernel: a kernel is exactly one of", "given: gaussian, motion"],
        ),
        (
            "gaussian: {size: 61, std: 3.0}",
            "motion: {length: 25, size: 9}",
            [
                "task.kernel.motion.angle: required",
                "task.kernel.motion.size: unknown key; known: length, angle",
            ],
        ),
        ("gaussian: {size: 61, std: 3.0}", "levin: 9", ["task.kernel.levin: ", "8, got 9"]),
        ("noise_level: 0.05", "noise_level: atuo", ["task.noise_level: ", "or auto, got 'atuo'"]),
        ("noise_level: 0.05", "noise_level: auto", ["\n  task.noise_level: auto belongs to mode"]),
        ("mode: benchmark", "mode: bench", ["mode: ", "'benchmark'"]),
        ("actors: 1", "actors: 0", ["actors: ", "got 0"]),
        ("seed: 0", "seed: -1", ["seed: ", "got -1"]),
        ("seed: 0", "seed: 0x" + "f" * 9999, ["seed: ", "got a whole number of 39996 bits"]),
        ("output: out", "output: ''", ["output: ", "at least 1 character"]),
        ("output: out", "output: 2024-13-45", ["is not YAML"]),
        ("std: 3.0", "std: 1.0e+12", ["task.kernel.gaussian.std: ", "1024"]),
        ("task: {kind: deblur,", "task: deblur #", ["task: expected a value such as {kind: deb"]),
        ("sampler: {", "sampler: ffhq-sr4 #", ["sampler: expected", "{preset: ffhq-sr4}, got 'ff"]),
        ("sampler: {", "sampler: #", ["sampler: expected a value such as {preset", "got nothing"]),
        ("model: builtin", "model:", ["model: expected a value such as builtin or {path:", "noth"]),
        ("model: builtin", "model: 3", ["model: expected a value such as builtin or", "got 3"]),
        ("seed: 0", "resources: gpu", ["resources: expected a value such as {name: 1}, got 'gpu'"]),
        ("gaussian: {size: 61, std: 3.0}", "disk: 3", ["task.kernel.disk: ", "{radius: 4}, got 3"]),
        ("seed: 0", "allowed_schemes: []", ["allowed_schemes: expected", "such as [s3, https]"]),
        (
            "seed: 0",
            "allowed_hosts: ['*']",
            ["allowed_hosts.0: expected a host name (*.", "got '*'"],
        ),
        ("seed: 0", "allowed_hosts: localhost", ["allowed_hosts: expected", "[localhost, 10."]),
        ("seed: 0", "fetch: 60", ["fetch: expected a value such as {timeout: 60, retr", "got 60"]),
        ("seed: 0", "fetch: {timeout: 0}", ["fetch.timeout: ", "got 0"]),
        ("seed: 0", "fetch_seconds: 60", ["fetch_seconds: unknown key"]),
        (JOB, JOB + "x: " + "[" * 3000, ["is not a job: its values lie too deep in one another"]),
        (JOB, JOB + "x: " + "{a: " * 3000 + "}" * 3000, ["is not a job: its values lie too deep"]),
        (JOB, "- a list", ["must hold keys and values"]),
        (JOB, "a: b: c", ["is not YAML"]),
        (JOB, "", ["must hold keys and values"]),
    ],
)
def test_faults_name_the_key_and_what_was_expected(tmp_path, old, new, words):
    assert old in JOB
    with pytest.raises(JobFileError) as e:
        load(tmp_path, JOB.replace(old, new))
    for word in [*words, "job.yaml"]:
        assert word in str(e.value), str(e.value)


@pytest.mark.parametrize(
    "task, words",
    [
        ("{kind: deblur, kernel: {motion: {}}, noise_level: 0}", "random kernel"),
        ("{kind: deblur, kernel: {gaussian: {std: [1, 2]}}, noise_level: 0}", "random kernel"),
        ("{kind: inpaint, mask: {random: 0.5}}", "made mask"),
        ("{kind: inpaint, mask: {box: 9}}", "made mask"),
    ],
)
def test_what_is_drawn_at_random_is_for_benchmarks(tmp_path, task, words):
    with pytest.raises(JobFileError, match=words):
        load(tmp_path, f"{{manifest: m.csv, output: o, task: {task}}}")


def test_a_wrong_scheme_is_one_fault(tmp_path):
    with pytest.raises(JobFileError) as e:
        load(tmp_path, JOB + "allowed_schemes: [s3, S3]")
    (line,) = str(e.value).splitlines()[1:]
    assert (
        "allowed_schemes.1: expected a value such as [s3, https], in lower case, got 'S3'" in line
    )


@pytest.mark.parametrize(
    "text, words",
    [
        (
            JOB + "seed: 1\n",
            "job.yaml: line 10: the key 'seed' stands there twice (first in line 8)",
        ),
        (JOB.replace("lam: 7", "nfe: 7"), "line 7: the key 'nfe' stands there twice"),
        (JOB + "resources: {a: 1, 'a': 2}", "line 10: the key 'a' stands"),
        (JOB + "x: [{a: {b: 1, b: 1}}]", "line 10: the key 'b' stands"),
    ],
)
def test_a_key_that_stands_there_twice_is_refused(tmp_path, text, words):
    with pytest.raises(JobFileError) as e:
        load(tmp_path, text)
    assert words in str(e.value)


def test_what_is_merged_may_be_overridden(tmp_path):
    merged = "sampler: {<<: &a {nfe: 10, lam: 2}, nfe: 20}\nseed: 0"
    spec = load(tmp_path, JOB.replace("sampler: {nfe: 100, lam: 7, zeta: 0.3}\nseed: 0", merged))
    assert (spec.sampler.nfe, spec.sampler.lam) == (20, 2)


def test_a_missing_job_file_is_said_in_words(tmp_path):
    with pytest.raises(StorageError, match="no such file"):
        load_job(str(tmp_path / "nowhere.yaml"))
