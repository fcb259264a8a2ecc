"""What users edit and apply, as far as it can be checked without Kubernetes, cloud and Docker."""

from __future__ import annotations

import copy
import json
import os
import re
import shlex
import subprocess
from pathlib import Path

import jsonschema
import pytest
import yaml
from ray.autoscaler._private.docker import docker_start_cmds
from ray.autoscaler._private.util import prepare_config, validate_config

from diffpir import __version__
from jobs.specfile import make_job

ROOT = Path(__file__).parents[2]
TEXT = {"type": "string"}
COUNT = {"type": "integer", "minimum": 0}
FLAG = {"type": "boolean"}
QUANTITY = {"type": "string", "pattern": r"^\d+(m|Ki|Mi|Gi)?$"}
PARAMS = {"type": "object", "additionalProperties": TEXT}


def of(required: str = "", **properties: dict) -> dict:
    """An object of these keys and no others."""
    return {
        "type": "object",
        "properties": properties,
        "required": required.split(),
        "additionalProperties": False,
    }


def many(items: dict) -> dict:
    return {"type": "array", "items": items, "minItems": 1}


# The fields of ray.io/v1 (rayjob_types.go, raycluster_types.go) and of pods that this file uses.
AMOUNTS = {"type": "object", "additionalProperties": QUANTITY, "required": ["cpu", "memory"]}
CONTAINER = of(
    "name image resources",
    name=TEXT,
    image=TEXT,
    resources=of("requests limits", requests=AMOUNTS, limits=AMOUNTS),
    envFrom=many(of("secretRef", secretRef=of("name", name=TEXT, optional=FLAG))),
    volumeMounts=many(of("name mountPath", name=TEXT, mountPath=TEXT, readOnly=FLAG)),
)
VOLUME = of(
    "name",
    name=TEXT,
    persistentVolumeClaim=of("claimName", claimName=TEXT, readOnly=FLAG),
    configMap=of("name", name=TEXT),
)
TOLERATION = of(
    "operator",
    key=TEXT,
    operator={"enum": ["Equal", "Exists"]},
    value=TEXT,
    effect={"enum": ["NoSchedule", "PreferNoSchedule", "NoExecute"]},
)
NODES = of(
    "matchExpressions",
    matchExpressions=many(
        of(
            "key operator values",
            key=TEXT,
            operator={"enum": ["In", "NotIn"]},
            values=many(TEXT),
        )
    ),
)
AFFINITY = of(
    nodeAffinity=of(
        requiredDuringSchedulingIgnoredDuringExecution=of(
            "nodeSelectorTerms", nodeSelectorTerms=many(NODES)
        )
    )
)
POD = of(
    "spec",
    spec=of(
        "containers",
        affinity=AFFINITY,
        serviceAccountName=TEXT,
        containers=many(CONTAINER),
        volumes=many(VOLUME),
        nodeSelector=PARAMS,
        tolerations=many(TOLERATION),
        terminationGracePeriodSeconds=COUNT,
    ),
)
GROUP = of(
    "groupName minReplicas maxReplicas rayStartParams template",
    groupName=TEXT,
    replicas=COUNT,
    minReplicas=COUNT,
    maxReplicas=COUNT,
    rayStartParams=PARAMS,
    template=POD,
)
CLUSTER = of(
    "headGroupSpec workerGroupSpecs rayVersion",
    rayVersion={"type": "string", "pattern": r"^\d+\.\d+\.\d+$"},
    enableInTreeAutoscaling=FLAG,
    autoscalerOptions=of(version={"enum": ["v1", "v2"]}, idleTimeoutSeconds=COUNT),
    headGroupSpec=of("rayStartParams template", rayStartParams=PARAMS, template=POD),
    workerGroupSpecs=many(GROUP),
)
RAY_JOB = of(
    "apiVersion kind metadata spec",
    apiVersion={"const": "ray.io/v1"},
    kind={"const": "RayJob"},
    metadata=of("name", name=TEXT),
    spec=of(
        "entrypoint rayClusterSpec",
        entrypoint=TEXT,
        submissionMode={"enum": ["K8sJobMode", "HTTPMode", "InteractiveMode"]},
        backoffLimit=COUNT,
        activeDeadlineSeconds=COUNT,
        shutdownAfterJobFinishes=FLAG,
        ttlSecondsAfterFinished=COUNT,
        rayClusterSpec=CLUSTER,
    ),
)


@pytest.fixture(scope="module")
def kuberay() -> tuple[dict, dict]:
    config_map, ray_job = yaml.safe_load_all((ROOT / "jobs" / "kuberay.yaml").read_text())
    return config_map, ray_job


def pods(ray_job: dict) -> dict[str, dict]:
    cluster = ray_job["spec"]["rayClusterSpec"]
    groups = {group["groupName"]: group for group in cluster["workerGroupSpecs"]}
    groups["head"] = cluster["headGroupSpec"]
    return {name: group["template"]["spec"] for name, group in groups.items()}


def changed(value, path: list, new):
    """A copy with one place in it set (or, for ``...``, removed)."""
    copied = json.loads(json.dumps(value))  # YAML's anchors share what deepcopy would still share
    place = copied
    for step in path[:-1]:
        place = place[step]
    if new is ...:
        del place[path[-1]]
    else:
        place[path[-1]] = new
    return copied


CLUSTER_PATH = ["spec", "rayClusterSpec"]
GPU_PATH = [*CLUSTER_PATH, "workerGroupSpecs", 1]
HEAD_PATH = [*CLUSTER_PATH, "headGroupSpec"]
HEAD_POD = [*HEAD_PATH, "template", "spec"]
CPU_POD = [*CLUSTER_PATH, "workerGroupSpecs", 0, "template", "spec"]


def test_the_ray_job_has_the_fields_of_its_kind(kuberay):
    jsonschema.validate(kuberay[1], RAY_JOB)


@pytest.mark.parametrize(
    "path, value",
    [
        (["apiVersion"], "ray.io/v1alpha1"),
        (["spec", "backoffLimits"], 3),
        (["spec", "submissionMode"], "HttpMode"),
        ([*CLUSTER_PATH, "enableAutoscaling"], True),
        ([*CLUSTER_PATH, "autoscalerOptions", "version"], 2),
        ([*GPU_PATH, "minReplica"], 0),
        ([*GPU_PATH, "maxReplicas"], "8"),
        ([*GPU_PATH, "template", "spec", "nodeSelectors"], {}),
        ([*HEAD_PATH, "rayStartParams", "num-cpus"], 0),
        ([*HEAD_POD, "containers", 0, "image"], ...),
    ],
)
def test_a_misspelt_field_is_found(kuberay, path, value):
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(changed(kuberay[1], path, value), RAY_JOB)


def check_fit(config_map: dict, ray_job: dict) -> None:
    images = set()
    for name, pod in pods(ray_job).items():
        declared = {volume["name"] for volume in pod["volumes"]}
        (container,) = pod["containers"]
        images.add(container["image"])
        mounted = {mount["name"] for mount in container["volumeMounts"]}
        assert declared == mounted, name
        assert "/models" in {mount["mountPath"] for mount in container["volumeMounts"]}
        amounts = container["resources"]
        assert amounts["requests"] == amounts["limits"]
        assert ("nvidia.com/gpu" in amounts["limits"]) == (name == "gpu")
    assert len(images) == 1 and images.pop().endswith(f":{__version__}")
    head = pods(ray_job)["head"]
    maps = [v["configMap"]["name"] for v in head["volumes"] if "configMap" in v]
    assert maps == [config_map["metadata"]["name"]]
    cluster = ray_job["spec"]["rayClusterSpec"]
    assert cluster["headGroupSpec"]["rayStartParams"].get("num-cpus") == "0"
    cpu, gpu = cluster["workerGroupSpecs"]
    assert (cpu["groupName"], gpu["groupName"]) == ("cpu", "gpu")
    assert cpu["minReplicas"] >= 1 and gpu["minReplicas"] == 0
    spot = pods(ray_job)["gpu"]["nodeSelector"]
    assert spot and not may_go_to(pods(ray_job)["cpu"], spot) and not may_go_to(head, spot)


def may_go_to(pod: dict, labels: dict[str, str]) -> bool:
    """Whether a pod's affinity lets it go to a node with these labels."""
    affinity = pod.get("affinity", {}).get("nodeAffinity", {})
    required = affinity.get("requiredDuringSchedulingIgnoredDuringExecution")
    return required is None or any(
        all(
            (labels.get(wish["key"]) in wish["values"]) == (wish["operator"] == "In")
            for wish in term["matchExpressions"]
        )
        for term in required["nodeSelectorTerms"]
    )


def test_the_pods_fit_together(kuberay):
    check_fit(*kuberay)
    assert may_go_to(pods(kuberay[1])["cpu"], {})  # a node that is not called anything


@pytest.mark.parametrize(
    "path, value",
    [
        ([*HEAD_POD, "volumes", 1, "configMap", "name"], "restore-jobs"),
        ([*HEAD_POD, "containers", 0, "volumeMounts", 1], ...),
        ([*HEAD_POD, "affinity"], ...),
        ([*HEAD_PATH, "rayStartParams", "num-cpus"], ...),
        ([*CPU_POD, "containers", 0, "image"], "registry.example.com/another:0.1.0"),
        ([*CPU_POD, "containers", 0, "resources", "limits", "nvidia.com/gpu"], "1"),
        ([*CPU_POD, "volumes", 0, "name"], "model"),
        ([*GPU_PATH, "minReplicas"], 1),
    ],
)
def test_a_misfit_is_found(kuberay, path, value):
    with pytest.raises(AssertionError):
        check_fit(kuberay[0], changed(kuberay[1], path, value))


def test_the_operator_is_told_the_ray_that_the_image_has(kuberay):
    constraints = (ROOT / "constraints.txt").read_text().split()
    assert f"ray=={kuberay[1]['spec']['rayClusterSpec']['rayVersion']}" in constraints


def test_the_job_in_it_is_a_job_that_fits_the_cluster(kuberay):
    config_map, ray_job = kuberay
    (name,) = config_map["data"]
    spec = make_job(yaml.safe_load(config_map["data"][name]), name)
    gpu = ray_job["spec"]["rayClusterSpec"]["workerGroupSpecs"][1]
    assert spec.autoscaling and spec.gpus == 1 and spec.actors.max == gpu["maxReplicas"]
    head = pods(ray_job)["head"]["containers"][0]["volumeMounts"]
    words = shlex.split(ray_job["spec"]["entrypoint"])
    assert words[:2] == ["diffpir", "run"]
    assert words[2] in {f"{mount['mountPath']}/{name}" for mount in head}


@pytest.mark.parametrize("code, retried", [(0, False), (3, False), (1, True), (2, True)])
def test_a_job_whose_rows_failed_is_not_run_again(kuberay, tmp_path, code, retried):
    script = tmp_path / "diffpir"
    script.write_text(f"#!/bin/sh\nexit {code}\n")
    script.chmod(0o755)
    path = f"{tmp_path}{os.pathsep}{os.environ['PATH']}"
    done = subprocess.run(kuberay[1]["spec"]["entrypoint"], shell=True, env={"PATH": path})
    assert (done.returncode != 0) == retried


@pytest.fixture(scope="module")
def launcher() -> dict:
    return yaml.safe_load((ROOT / "jobs" / "cluster.yaml").read_text())


def test_the_launcher_takes_the_cluster_file(launcher):
    validate_config(prepare_config(copy.deepcopy(launcher)))
    types = launcher["available_node_types"]
    assert types["gpu"]["min_workers"] == 0
    assert types["gpu"]["node_config"]["InstanceMarketOptions"] == {"MarketType": "spot"}
    for name in ("head", "cpu"):
        assert "InstanceMarketOptions" not in types[name]["node_config"]
    # Ray would take an image with a driver that is too old, and a role that may do anything.
    assert all({"ImageId", "IamInstanceProfile"} <= set(t["node_config"]) for t in types.values())
    profiles = {name: t["node_config"]["IamInstanceProfile"]["Name"] for name, t in types.items()}
    assert profiles["cpu"] == profiles["gpu"] != profiles["head"]


@pytest.mark.parametrize(
    "path, value",
    [
        (["max_worker"], 3),
        (["docker", "entrypoint"], ""),
        (["available_node_types", "gpu", "min_workers"], "0"),
        (["available_node_types", "gpu", "node_configs"], {}),
    ],
)
def test_the_launcher_refuses_what_is_misspelt(launcher, path, value):
    with pytest.raises(jsonschema.ValidationError):
        validate_config(prepare_config(changed(launcher, path, value)))


def test_the_launcher_starts_the_image_as_it_is(launcher):
    config = prepare_config(copy.deepcopy(launcher))
    assert config["head_setup_commands"] == config["worker_setup_commands"] == []
    docker = config["docker"]
    assert docker["image"].endswith(f":{__version__}")
    words = shlex.split(
        docker_start_cmds(
            "ubuntu",
            docker["image"],
            {},
            docker["container_name"],
            docker["run_options"],
            config["cluster_name"],
            "/root",
            "docker",
        )
    )
    assert words[-2:] == [docker["image"], "bash"]  # so the image's own entry point must go
    assert words[words.index("--entrypoint") + 1] == ""
    assert "NVIDIA_VISIBLE_DEVICES=all" in words


def check_image(text: str) -> None:
    lines = text.replace("\\\n", " ").splitlines()
    steps = [line.split(maxsplit=1) for line in lines if re.match(r"[A-Z]+ ", line)]
    bases = [value for step, value in steps if step == "FROM"]
    assert bases and all(re.search(r":\d+\.\d+\.\d+", base) for base in bases)
    names = [step for step, _ in steps]
    assert ["USER", "1000"] in steps
    assert names.index("USER") > max(i for i, step in enumerate(names) if step == "RUN")
    sources = [source for step, value in steps if step == "COPY" for source in value.split()[:-1]]
    assert all((ROOT / source).exists() for source in sources)
    assert {"diffpir", "manifests", "pipeline", "jobs", "constraints.txt"} <= set(sources)
    # What is heavy is installed before the code comes, so that a change of code leaves it be.
    code = next(i for i, (step, value) in enumerate(steps) if value.startswith("diffpir diffpir"))
    after = [value for step, value in steps[code:] if step == "RUN"]
    assert after == ["pip install --no-deps ."]
    settings = [value for step, value in steps if step in ("ENV", "ARG")]
    assert not re.search(r"KEY|SECRET|TOKEN|PASSWORD", " ".join(settings))
    # What KubeRay and the launcher call in a container.
    before = {word for step, value in steps[:code] if step == "RUN" for word in value.split()}
    assert {"openssh-client", "rsync", "wget", "boto3"} <= before
    ignored = (ROOT / ".dockerignore").read_text().split()
    assert not set(sources) & set(ignored) and {".git", "tests"} <= set(ignored)


def test_the_image_is_pinned_lean_and_not_roots():
    check_image((ROOT / "Dockerfile").read_text())


@pytest.mark.parametrize(
    "old, new",
    [
        ("FROM python:3.11.13-slim-bookworm", "FROM python:latest"),
        ("\nUSER 1000\n", "\n"),
        ("\nUSER 1000\n", "\nUSER 1000\nRUN true\n"),
        ("COPY pipeline pipeline\n", ""),
        ("COPY pipeline pipeline\n", "COPY pipelines pipeline\n"),
        ("ENV DIFFPIR_CACHE=/cache", "ENV AWS_SECRET_ACCESS_KEY=x"),
        ("openssh-client ", ""),
        (" --no-deps .", " ."),
    ],
)
def test_a_wrong_image_is_found(old, new):
    text = (ROOT / "Dockerfile").read_text()
    assert old in text
    with pytest.raises(AssertionError):
        check_image(text.replace(old, new))


def test_what_the_autoscaler_beside_the_head_calls_is_installed():
    from ray.autoscaler._private.kuberay import run_autoscaler  # KubeRay runs it in the same image

    assert run_autoscaler.run_kuberay_autoscaler
