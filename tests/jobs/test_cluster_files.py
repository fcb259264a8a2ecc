"""What users edit and apply, as far as it can be checked without Kubernetes, cloud and Docker."""

from __future__ import annotations

import copy
import os
import re
import shlex
import subprocess
from pathlib import Path

import jsonschema
import pytest
import yaml
from ray.autoscaler._private.util import prepare_config, validate_config

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
POD = of(
    "spec",
    spec=of(
        "containers",
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
    autoscalerOptions=of(idleTimeoutSeconds=COUNT),
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


def test_the_ray_job_has_the_fields_of_its_kind(kuberay):
    jsonschema.validate(kuberay[1], RAY_JOB)


@pytest.mark.parametrize(
    "path, value",
    [
        (["apiVersion"], "ray.io/v1alpha1"),
        (["spec", "backoffLimits"], 3),
        (["spec", "submissionMode"], "HttpMode"),
        (["spec", "rayClusterSpec", "enableAutoscaling"], True),
        (["spec", "rayClusterSpec", "workerGroupSpecs", 1, "minReplica"], 0),
        (["spec", "rayClusterSpec", "workerGroupSpecs", 1, "maxReplicas"], "8"),
        (["spec", "rayClusterSpec", "headGroupSpec", "rayStartParams", "num-cpus"], 0),
    ],
)
def test_a_misspelt_field_is_found(kuberay, path, value):
    broken = copy.deepcopy(kuberay[1])
    place = broken
    for step in path[:-1]:
        place = place[step]
    place[path[-1]] = value
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(broken, RAY_JOB)


def test_the_pods_fit_together(kuberay):
    config_map, ray_job = kuberay
    for name, pod in pods(ray_job).items():
        declared = {volume["name"] for volume in pod["volumes"]}
        (container,) = pod["containers"]
        mounted = {mount["name"] for mount in container["volumeMounts"]}
        assert declared == mounted, name
        assert "/models" in {mount["mountPath"] for mount in container["volumeMounts"]}
        amounts = container["resources"]
        assert amounts["requests"] == amounts["limits"]
        assert ("nvidia.com/gpu" in amounts["limits"]) == (name == "gpu")
    head = pods(ray_job)["head"]
    maps = [v["configMap"]["name"] for v in head["volumes"] if "configMap" in v]
    assert maps == [config_map["metadata"]["name"]]
    groups = {g["groupName"]: g for g in ray_job["spec"]["rayClusterSpec"]["workerGroupSpecs"]}
    assert groups["gpu"]["minReplicas"] == 0 and "tolerations" in pods(ray_job)["gpu"]
    assert groups["cpu"]["minReplicas"] >= 1 and "nodeSelector" not in pods(ray_job)["cpu"]


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


def test_the_launcher_takes_the_cluster_file():
    config = yaml.safe_load((ROOT / "jobs" / "cluster.yaml").read_text())
    validate_config(prepare_config(copy.deepcopy(config)))
    types = config["available_node_types"]
    assert types["gpu"]["min_workers"] == 0
    assert types["gpu"]["node_config"]["InstanceMarketOptions"] == {"MarketType": "spot"}
    assert "InstanceMarketOptions" not in types["cpu"]["node_config"]
    with pytest.raises(jsonschema.ValidationError):
        validate_config(prepare_config({**config, "max_worker": 3}))


def test_the_image_is_pinned_lean_and_not_roots():
    lines = (ROOT / "Dockerfile").read_text().replace("\\\n", " ").splitlines()
    steps = [line.split(maxsplit=1) for line in lines if re.match(r"[A-Z]+ ", line)]
    bases = [value for step, value in steps if step == "FROM"]
    assert bases and all(re.search(r":\d+\.\d+\.\d+", base) for base in bases)
    names = [step for step, _ in steps]
    assert ["USER", "diffpir"] in steps
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
    ignored = (ROOT / ".dockerignore").read_text().split()
    assert not set(sources) & set(ignored) and {".git", "tests"} <= set(ignored)
