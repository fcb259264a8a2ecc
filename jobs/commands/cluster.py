"""The commands for jobs on a cluster: submit, status, logs, stop, list."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import Annotated

import typer

from jobs.commands.options import (
    AllowCode,
    Fresh,
    Overwrite,
    RetryFailed,
    allowed_code,
    examples,
)
from jobs.console import duration, user_errors

app = typer.Typer()
Address = Annotated[
    str | None,
    typer.Option(
        help="The cluster's job API, http://HEAD:8265. Default: $RAY_API_SERVER_ADDRESS, "
        "$RAY_ADDRESS, or the cluster on this machine.",
    ),
]
Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]
JobId = Annotated[str, typer.Argument(metavar="ID", help="As `diffpir submit` printed it.")]
STOP_SECONDS = 60


@app.command(
    epilog=examples(
        "diffpir submit job.yaml --address http://head:8265",
        "diffpir submit job.yaml --env AWS_PROFILE --wait",
    )
)
def submit(
    job: Annotated[str, typer.Argument(help="Job file (YAML), by path or URI.")],
    address: Address = None,
    env: Annotated[
        list[str] | None,
        typer.Option(
            help="Name of an environment variable that the job is to have as it is here "
            "(repeatable). Whoever can reach the job API can read it: for keys, roles of the "
            "nodes are safer. Endpoint and region of S3 go along by themselves.",
        ),
    ] = None,
    code: Annotated[
        bool,
        typer.Option(
            help="Send the code of this installation, or use the one that the nodes have."
        ),
    ] = True,
    wait: Annotated[
        bool,
        typer.Option(
            "--wait", help="Show the log of the job until it ends, and exit as the job does."
        ),
    ] = False,
    retry_failed: RetryFailed = False,
    fresh: Fresh = False,
    overwrite: Overwrite = False,
    allow_code: AllowCode = None,
    as_json: Json = False,
) -> None:
    """Run a job on a cluster, or resume it there; prints the job's id.

    Exits with 0 if the cluster took it, 2 if it is wrong. With --wait as `diffpir run` would: 0 all
    rows restored, 3 some failed, 1 stopped on the way, 2 wrong.
    """
    with user_errors():
        from jobs.submit import submit as send
        from manifests import storage

        given = {"--retry-failed": retry_failed, "--fresh": fresh, "--overwrite": overwrite}
        options = [name for name, is_given in given.items() if is_given]
        cluster, id, spec = send(address, job, options, env or [], code, allowed_code(allow_code))
        if as_json:
            record = {"id": id, "address": cluster.shown, "output": storage.shown(spec.output)}
            typer.echo(json.dumps(record))
        else:
            typer.echo(id)
        if not wait:
            return
        for piece in cluster.follow(id):
            typer.echo(piece, nl=False, err=True)
        ended = cluster.wait(id)
    if ended.meaning and ended.exit_code is None:
        typer.secho(f"{ended.status}: {ended.message}", err=True, fg="red")
    raise typer.Exit(ended.meaning)


@app.command(
    epilog=examples(
        "diffpir status", "diffpir status s3://bucket/runs/1", "diffpir status out/ --json"
    )
)
def status(
    what: Annotated[
        str | None,
        typer.Argument(
            metavar="[ID|OUTPUT]",
            help="A job's id, or its output folder or URI. Default: the newest job of the cluster.",
        ),
    ] = None,
    address: Address = None,
    as_json: Json = False,
) -> None:
    """Say how far a job is. An output is looked at from anywhere, without the cluster.

    Exits with 0 if all rows are restored, 3 if some failed, 4 while it waits or is at work, 1 if it
    stopped on the way, 2 if there is no such job.
    """
    with user_errors():
        from jobs.progress import progress_of
        from manifests.errors import ManifestError
        from pipeline.errors import PipelineError

        job = None
        if what and _is_place(what):
            output = what
        else:
            from jobs.cluster import Cluster

            try:
                cluster = Cluster(address)
            except PipelineError as e:
                if what is None:
                    raise
                raise PipelineError(f"no folder {what!r} is here; as a job's id: {e}") from None
            if what is None:
                known = cluster.jobs()
                if not known:
                    raise PipelineError(f"no jobs were submitted to {cluster.shown}")
                job = known[-1]
            else:
                job = cluster.job(what)
            output = job.output
        progress, unknown = None, None
        try:
            progress = progress_of(output)
        except (PipelineError, ManifestError) as e:
            if job is None:
                raise
            # Not planned yet, or this machine may not read there: the job is what was asked for.
            unknown = str(e)
    if as_json:
        found = {"job": job, "progress": progress}
        typer.echo(json.dumps({name: one and asdict(one) for name, one in found.items()}))
    else:
        if job:
            typer.echo(f"{job.id}: {job.status}; {job.message}")
        typer.echo(_words(progress) if progress else f"progress unknown: {unknown}")
    asked = job or progress
    assert asked is not None  # without a job, no progress is an error
    raise typer.Exit(asked.meaning)


@app.command(epilog=examples("diffpir logs diffpir-0123456789ab --follow"))
def logs(
    id: JobId,
    follow: Annotated[
        bool, typer.Option("--follow", "-f", help="Go on printing until the job ends.")
    ] = False,
    address: Address = None,
) -> None:
    """Print what a job's driver has printed."""
    with user_errors():
        from jobs.cluster import Cluster

        cluster = Cluster(address)
        for piece in cluster.follow(id) if follow else [cluster.logs(id)]:
            typer.echo(piece, nl=False)


@app.command(epilog=examples("diffpir stop diffpir-0123456789ab"))
def stop(id: JobId, address: Address = None) -> None:
    """Stop a job. What is committed stays; submitting its file again goes on from there.

    Exits with 0 when it has ended, 1 if it has not within a minute.
    """
    with user_errors():
        from jobs.cluster import Cluster

        cluster = Cluster(address)
        before = cluster.job(id)
        if before.is_over:
            typer.echo(f"{id} had ended: {before.status}")
            return
        cluster.stop(id)
        job = cluster.wait(id, STOP_SECONDS)
    typer.echo(f"{id}: {job.status}")
    if not job.is_over:
        raise typer.Exit(1)


@app.command("list", epilog=examples("diffpir list", "diffpir list --json"))
def list_jobs(address: Address = None, as_json: Json = False) -> None:
    """List the jobs that were submitted to a cluster, the newest last."""
    with user_errors():
        from jobs.cluster import Cluster
        from jobs.tables import render

        jobs = [asdict(job) for job in Cluster(address).jobs()]
    if as_json:
        typer.echo(json.dumps(jobs))
    elif jobs:
        shown = ("id", "status", "exit_code", "started", "ended", "output")
        typer.echo(render([{name: job[name] for name in shown} for job in jobs], "table"))


def _is_place(what: str) -> bool:
    from manifests import storage

    return "/" in what or storage.exists(what)


def _words(progress) -> str:
    text = f"{progress.state}: {progress.done}/{progress.rows} images"
    if progress.failed:
        text += f" ({progress.failed} failed)"
    if progress.images_per_second:
        text += f", {progress.images_per_second:.2f} images/s"
        text += f", {duration(progress.seconds_left)} left"
    for driver in progress.drivers:
        text += f"\n  driver on {driver['host']} (process {driver['pid']})"
        text += f", seen {driver['seen_seconds_ago']} s ago"
    return text
