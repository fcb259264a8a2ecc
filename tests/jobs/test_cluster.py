"""Jobs on a real cluster of three nodes, through its job API, on a real S3 server."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import time
import urllib.request
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pyarrow.dataset as ds
import pytest
import yaml

from manifests import storage
from tests.cluster import BIN, ray_nodes
from tests.pictures import photograph
from tests.s3 import free_port

KEYS = ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY")
WITH_KEYS = [option for name in KEYS for option in ("--env", name)]
SECONDS = 240
STEPS = ("ReadManifest->MapBatches(Isolated)", "MapBatches(Isolated)->Write")


@pytest.fixture(scope="module")
def cluster(s3):
    """Head, a node with CPUs, and one that says it has a GPU; none knows the S3 server."""
    with ray_nodes({"cpus": 4}, {"cpus": 1, "gpus": 1, "scanner": 1}) as cluster:
        yield cluster


@pytest.fixture
def diffpir(cluster, tmp_path):
    """Runs the command as a person beside the cluster would; the keys are in the environment."""

    def run(*arguments, code: int = 0, **environment: str) -> subprocess.CompletedProcess:
        ray = {k: v for k, v in cluster.environment.items() if k.startswith("RAY_")}
        done = subprocess.run(
            [BIN / "diffpir", *map(str, arguments)],
            capture_output=True,
            text=True,
            timeout=SECONDS,
            cwd=tmp_path,
            env={
                **os.environ, **ray, "RAY_API_SERVER_ADDRESS": cluster.jobs_url, **environment
            },
        )  # fmt: skip
        assert done.returncode == code, f"{done.stdout[-3000:]}\n{done.stderr[-6000:]}"
        assert "Traceback" not in done.stderr
        return done

    return run


@pytest.fixture
def job(s3_prefix, tiny_model, tmp_path):
    """Writes a job file for ``images`` photographs in the bucket and one that is not there."""
    storage.write_bytes(f"{s3_prefix}/tiny.safetensors", Path(tiny_model).read_bytes())

    def write(images: int, missing: int = 0, **settings) -> Path:
        rows = []
        for i in range(images):
            photograph(40, 32, ("astronaut", "chelsea", "coffee")[i % 3]).save(tmp_path / "x.png")
            storage.write_bytes(f"{s3_prefix}/in/{i}.png", (tmp_path / "x.png").read_bytes())
        for i in range(images + missing):
            rows.append({"id": str(i), "image": f"in/{i}.png"})
        text = "".join(json.dumps(row) + "\n" for row in rows)
        storage.write_bytes(f"{s3_prefix}/m.jsonl", text.encode())
        content = {
            "manifest": f"{s3_prefix}/m.jsonl",
            "output": f"{s3_prefix}/out",
            "task": {"kind": "denoise", "noise_level": 0.1},
            "model": f"{s3_prefix}/tiny.safetensors",
            "sampler": {"nfe": 2},
            **settings,
        }
        path = tmp_path / "job.yaml"
        path.write_text(yaml.safe_dump(content))
        return path

    return write


def ids(output: str) -> list[str]:
    fs, path = storage.filesystem(f"{output}/results")
    table = ds.dataset(path, filesystem=fs, format="parquet").to_table(["id"])
    return sorted(table["id"].to_pylist(), key=int)


def places(cluster) -> dict[str, set[str]]:
    """Name of a task -> resources of the nodes where it ran, by Ray's own records."""
    code = (
        "import json, sys; from ray.util.state import list_nodes, list_tasks; at = sys.argv[1];"
        "nodes = {n.node_id: n.resources_total for n in list_nodes(address=at)};"
        "tasks = list_tasks(address=at, detail=True, limit=5000, raise_on_missing_output=False);"
        "print(json.dumps([[t.name, sorted(nodes[t.node_id])] for t in tasks if t.node_id]))"
    )
    command = [sys.executable, "-c", code, cluster.jobs_url]
    for _ in range(5):  # its records come late, and at times not at all
        done = subprocess.run(command, capture_output=True, text=True, env=cluster.environment)
        if done.returncode == 0 and "IsolatedRestorer" in done.stdout:
            break
        time.sleep(2)
    assert done.returncode == 0, done.stderr[-3000:]
    found = defaultdict(set)
    for name, resources in json.loads(done.stdout):
        found[name] |= {r for r in resources if r in ("CPU", "GPU", "scanner")} or {"head"}
    return found


def test_a_job_is_submitted_watched_and_read(cluster, diffpir, job, s3_prefix):
    file = job(
        7, missing=1, mode="benchmark", shard_rows=2,
        gpus=1, resources={"scanner": 0.5}, batch_pixels=2**13,
    )  # fmt: skip
    done = diffpir("submit", file, *WITH_KEYS, "--wait", "--json", code=3)
    record = json.loads(done.stdout)
    assert record["output"] == f"{s3_prefix}/out"
    assert "7 restored, 1 failed" in done.stderr
    assert ids(f"{s3_prefix}/out") == [str(i) for i in range(8)]

    progress = json.loads(diffpir("status", f"{s3_prefix}/out", "--json", code=3).stdout)
    assert progress["job"] is None
    assert progress["progress"] == {
        "state": "finished", "rows": 8, "done": 8, "failed": 1,
        "images_per_second": None, "seconds_left": None, "drivers": [],
    }  # fmt: skip
    newest = diffpir("status", code=3).stdout  # of the newest job
    assert newest.startswith(record["id"]) and "finished: 8/8 images (1 failed)" in newest
    listed = json.loads(diffpir("list", "--json").stdout)
    assert [j["id"] for j in listed] == [record["id"]]
    assert (listed[0]["status"], listed[0]["exit_code"]) == ("failed", 3)
    assert record["id"] in diffpir("list").stdout
    log = diffpir("logs", record["id"]).stdout
    assert "7 restored, 1 failed" in log
    assert diffpir("stop", record["id"]).stdout == f"{record['id']} had ended: failed\n"

    # The actor was where the GPU is, fetching and encoding where none is.
    where = places(cluster)
    assert all(where[name] == {"CPU"} for name in STEPS), where
    restorers = [name for name in where if "IsolatedRestorer)).submit" in name]
    assert restorers and all(where[name] == {"CPU", "GPU", "scanner"} for name in restorers)

    # What was given for the storage is nowhere in what is kept or printed.
    secret = os.environ["AWS_SECRET_ACCESS_KEY"]
    for name in ("run.json", "summary.json"):
        assert secret not in storage.read_bytes(f"{s3_prefix}/out/{name}").decode()
    assert secret not in log + done.stdout + done.stderr + newest

    means = json.loads(diffpir("metrics", f"{s3_prefix}/out", "--format", "json").stdout)
    assert {r["metric"] for r in means} >= {"psnr", "ssim"} and means[0]["rows"] == 8


def test_no_secret_of_a_uri_is_kept_or_printed(cluster, diffpir, job, s3_prefix, tmp_path):
    """Neither by Ray, nor in an output, nor on the way: of rows, and of a driver's own words."""
    mark = "L3AKL3AK"
    nowhere = free_port()
    signed = f"http://{mark}:{mark}@127.0.0.1:{nowhere}/b.png?X-Amz-Signature={mark}&v=1"
    slashed = f"http://me:{mark}/{mark}@127.0.0.1:{nowhere}/it's a.png?sig={mark}'{mark}"
    rows = [{"id": "a", "image": slashed}, {"id": "b", "image": signed}]
    rows = [{**row, "note": f"of {row['image']}"} for row in rows]
    file = job(2, shard_rows=1, allowed_schemes=["s3", "http"], allowed_hosts=["127.0.0.1"])
    rows.append({"id": "c", "image": f"{s3_prefix}/in/1.png", "note": ""})
    text = "".join(json.dumps(row) + "\n" for row in rows)
    storage.write_bytes(f"{s3_prefix}/m.jsonl", text.encode())

    soon = {"DIFFPIR_RETRY_SECONDS": "1"}
    refusal = diffpir("submit", file, DIFFPIR_LEVIN=signed, code=2).stderr
    assert "DIFFPIR_LEVIN: the URI holds a password" in refusal
    with commands_of_processes() as commands:
        done = diffpir("submit", file, *WITH_KEYS, "--wait", "--json", code=3, **soon)
    assert "1 restored, 2 failed" in done.stderr
    assert not [line for line in commands if mark in line]
    assert any("run job.yaml" in line for line in commands)
    id = json.loads(done.stdout)["id"]
    seen = [refusal, done.stdout, done.stderr, *outputs(f"{s3_prefix}/out")]
    told = (("logs", id), 0), (("status", id), 3), (("list", "--json"), 0)
    seen += [diffpir(*command, code=code).stdout for command, code in told]

    # A driver whose own command line has a secret, which Ray keeps, too.
    (tmp_path / "m.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows[:2]))
    local = {"manifest": str(tmp_path / "m.jsonl"), "output": str(tmp_path / "out")}
    content = {**yaml.safe_load(file.read_text()), **local, "model": "builtin"}
    (tmp_path / "own.yaml").write_text(yaml.safe_dump(content))
    serve = partial(SimpleHTTPRequestHandler, directory=str(tmp_path))
    with ThreadingHTTPServer(("127.0.0.1", 0), serve) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        uri = f"http://me:{mark}@127.0.0.1:{server.server_port}/own.yaml?sig={mark}"
        own = diffpir("run", uri, code=3, RAY_ADDRESS=cluster.gcs, **soon)
        server.shutdown()
    assert "0 restored, 2 failed" in own.stdout
    seen += [own.stdout, own.stderr, *outputs(str(tmp_path / "out"))]

    token = {"Authorization": f"Bearer {cluster.environment['RAY_AUTH_TOKEN']}"}
    ask = urllib.request.Request(f"{cluster.jobs_url}/api/jobs/", headers=token)
    kept = urllib.request.urlopen(ask, timeout=30).read().decode()
    assert f"{s3_prefix}/out" in kept and "/own.yaml?***" in kept
    for text in (*seen, kept):
        assert mark.lower() not in text.lower(), text


def outputs(output: str) -> list[str]:
    """The texts that an output holds, but for the plan: the manifest as it is."""
    texts = [
        storage.read_bytes(f"{output}/{name}").decode() for name in ("run.json", "summary.json")
    ]
    fs, path = storage.filesystem(f"{output}/results")
    table = ds.dataset(path, filesystem=fs, format="parquet").to_table()
    rows = table.drop_columns(["restored"]).to_pylist()
    assert sum("it's a.png: " in row["error"] for row in rows) == 1
    return [*texts, json.dumps(rows, default=str)]


@contextmanager
def commands_of_processes() -> Iterator[set[str]]:
    """The command lines of all processes meanwhile, as ``ps`` shows them."""
    seen: set[str] = set()
    over = threading.Event()

    def look() -> None:
        while not over.wait(0.2):
            done = subprocess.run(["ps", "-eo", "args=", "-ww"], capture_output=True, text=True)
            seen.update(done.stdout.splitlines())

    thread = threading.Thread(target=look)
    thread.start()
    try:
        yield seen
    finally:
        over.set()
        thread.join()


def test_a_stopped_job_goes_on_where_it_is_submitted_again(cluster, diffpir, job, s3_prefix):
    output = f"{s3_prefix}/out"
    file = job(12, shard_rows=1, sampler={"nfe": 60}, gpus=0, cpus=1, actors={"min": 1, "max": 2})
    id = diffpir("submit", file, *WITH_KEYS).stdout.strip()
    end = time.monotonic() + SECONDS
    while len(storage.list_names(f"{output}/results")) < 2:
        assert time.monotonic() < end, diffpir("logs", id).stdout
        time.sleep(0.3)
    known = json.loads(diffpir("status", id, "--json", code=4).stdout)
    assert known["job"]["status"] == "running" and known["progress"]["state"] == "running"
    assert known["progress"]["drivers"] and known["progress"]["done"] >= 2
    scraped(cluster, "ray_diffpir_images_total", end, 'status="ok"')
    for name in ("ray_diffpir_network_seconds_total", "ray_diffpir_batch_size_count"):
        scraped(cluster, name, end)

    assert diffpir("stop", id).stdout == f"{id}: stopped\n"
    assert "stopped" in diffpir("status", id, code=1).stdout
    before = json.loads(diffpir("status", output, "--json", code=1).stdout)["progress"]
    assert before["state"] == "stopped" and before["drivers"] == []
    assert 2 <= before["done"] < 12

    done = diffpir("submit", file, *WITH_KEYS, "--wait")
    assert "12 restored, 0 failed" in done.stderr
    assert ids(output) == [str(i) for i in range(12)]
    diffpir("verify", output)
    after = diffpir("status", output).stdout
    assert after == "finished: 12/12 images\n"


def scraped(cluster, name: str, end: float, label: str = "") -> None:
    """Wait until that metric is on some node's endpoint, as Prometheus would find it."""
    found = cluster.folder / "prom_metrics_service_discovery.json"
    while time.monotonic() < end:
        for target in json.loads(found.read_text())[0]["targets"]:
            text = urllib.request.urlopen(f"http://{target}/metrics", timeout=10).read().decode()
            for line in text.splitlines():
                if line.startswith(name) and label in line:
                    return
        time.sleep(1)
    raise AssertionError(f"{name} is on no node's endpoint")


def test_what_is_wrong_is_said_in_words_before_any_work(cluster, diffpir, job, s3_prefix):
    file = job(2, gpus=1, actors=4)
    done = diffpir("submit", file, *WITH_KEYS, "--wait", code=2)
    assert "actors: the job asks for 4 actor(s), the cluster has room for 1: each" in done.stderr
    assert "takes 0.2 CPUs, 1 GPUs" in done.stderr
    assert not storage.exists(f"{s3_prefix}/out/run.json")

    def refused(*arguments, **environment: str) -> str:
        return diffpir(*arguments, code=2, **environment).stderr

    assert "no Ray cluster answers at http://127.0.0.1:9" in refused(
        "list", "--address", "http://127.0.0.1:9"
    )
    assert "wants its token" in refused("list", RAY_AUTH_MODE="disabled")
    assert "no-such-job" in refused("status", "no-such-job")
    assert "no-such-job" in refused("logs", "no-such-job", "--follow")
    assert "no job's output" in refused("status", f"{s3_prefix}/nowhere")


def test_what_a_growing_cluster_does_not_have_yet_is_waited_for(cluster, diffpir, job, s3_prefix):
    file = job(2, gpus=0, resources={"late": 1}, actors=1)
    refusal = diffpir("submit", file, *WITH_KEYS, "--wait", code=2).stderr
    assert "resources.late: the job asks for 1 actor(s), the cluster has room for 0" in refusal
    file = job(2, gpus=0, resources={"late": 1}, actors=1, autoscaling=True)
    id = diffpir("submit", file, *WITH_KEYS).stdout.strip()
    end = time.monotonic() + SECONDS
    while not storage.exists(f"{s3_prefix}/out/run.json"):
        assert time.monotonic() < end, diffpir("logs", id).stdout
        time.sleep(0.3)
    cluster.add_node(cpus=1, late=1)  # as an autoscaler would
    assert "2 restored, 0 failed" in diffpir("logs", id, "--follow").stdout
