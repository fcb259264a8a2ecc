"""The jobs of this project on a Ray cluster, through Ray's job submission API."""

from __future__ import annotations

import asyncio
import logging
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime

import requests
from aiohttp import ClientError
from ray.exceptions import AuthenticationError
from ray.job_submission import JobDetails, JobStatus, JobSubmissionClient

from jobs.console import RUNNING, STOPPED
from manifests import storage
from manifests.secrets import redacted
from pipeline.errors import PipelineError

POLL_SECONDS = 0.5
# Ray's notes on each package that it sends and each connection: they fill a screen.
TALKATIVE = (
    "ray.dashboard.modules.dashboard_sdk",
    "ray.dashboard.modules.job.sdk",
    "ray._private.runtime_env.packaging",
)
MARK = "diffpir_output"  # the metadata that tells this project's jobs from others'


@dataclass(frozen=True)
class Job:
    """A submitted job.

    Attributes:
        id: as ``diffpir submit`` returned it; None of a driver that was not submitted.
        status: pending, running, succeeded, failed or stopped.
        exit_code: of its driver, which is that of ``diffpir run``; None while it runs, or if it
            was killed.
        output: where its results go.
        started, ended: in UTC; None if not yet.
        message: Ray's words on how it is.
    """

    id: str | None
    status: str
    exit_code: int | None
    output: str
    started: str | None
    ended: str | None
    message: str

    @property
    def is_over(self) -> bool:
        return self.status in ("succeeded", "failed", "stopped")

    @property
    def meaning(self) -> int:
        """The exit code for a script that asks for this job."""
        if not self.is_over:
            return RUNNING
        return STOPPED if self.status == "stopped" or self.exit_code is None else self.exit_code


class Cluster:
    """A connection to a cluster's job API.

    Args:
        address: ``http://HOST:8265``; None for ``$RAY_API_SERVER_ADDRESS``, ``$RAY_ADDRESS``, or
            the cluster that runs on this machine.

    Raises:
        PipelineError: from each method: nothing answers there, or it refuses.
    """

    def __init__(self, address: str | None = None):
        for name in TALKATIVE:
            logging.getLogger(name).setLevel(logging.ERROR)
        with _in_words(address), _first_of_all(address):
            self._client = JobSubmissionClient(address)
        self.address = self._client.get_address()
        self.shown = storage.shown(self.address)

    def submit(self, entrypoint: str, id: str, output: str, runtime_env: dict) -> None:
        with _in_words(self.address):
            self._client.submit_job(
                entrypoint=entrypoint,
                submission_id=id,
                metadata={MARK: output},
                runtime_env=runtime_env,
            )

    def job(self, id: str) -> Job:
        with _in_words(self.address):
            return _job(self._client.get_job_info(id))

    def jobs(self) -> list[Job]:
        """This project's, the newest last."""
        with _in_words(self.address):
            found = [job for job in self._client.list_jobs() if MARK in (job.metadata or {})]
        return [_job(details) for details in sorted(found, key=lambda job: job.start_time or 0)]

    def wait(self, id: str, seconds: float = float("inf")) -> Job:
        """The job when it is over, or as it is after so long."""
        end = time.monotonic() + seconds
        while True:
            job = self.job(id)
            if job.is_over or time.monotonic() > end:
                return job
            time.sleep(POLL_SECONDS)

    def stop(self, id: str) -> None:
        with _in_words(self.address):
            self._client.stop_job(id)

    def logs(self, id: str) -> str:
        """What the driver has printed so far."""
        with _in_words(self.address):
            return self._client.get_job_logs(id)

    def follow(self, id: str) -> Iterator[str]:
        """What the driver has printed and prints, piece by piece, until it ends."""
        with _in_words(self.address), asyncio.Runner() as runner:
            pieces = self._client.tail_job_logs(id)

            async def next_piece() -> str | None:
                return await anext(pieces, None)

            while (piece := runner.run(next_piece())) is not None:
                yield piece


@contextmanager
def _first_of_all(address: str | None) -> Iterator[None]:
    """Ray takes its variables before the address that it is given: meanwhile they say the same."""
    name = "RAY_API_SERVER_ADDRESS"
    before = os.environ.get(name)
    if address:
        os.environ[name] = address
    try:
        yield
    finally:
        if before is None:
            os.environ.pop(name, None)
        else:
            os.environ[name] = before


@contextmanager
def _in_words(address: str | None) -> Iterator[None]:
    place = storage.shown(address or "")
    try:
        yield
    except AuthenticationError:
        raise PipelineError(
            f"the cluster at {place} wants its token: set RAY_AUTH_MODE=token and RAY_AUTH_TOKEN "
            "(on the head node, `ray get-auth-token` prints it)"
        ) from None
    except (ConnectionError, requests.RequestException, ClientError) as e:
        where = f"at {place}" if address else "here (give --address http://HEAD:8265)"
        raise PipelineError(f"no Ray cluster answers {where}: {_first_line(e, address)}") from None
    except (RuntimeError, ValueError) as e:  # what the server, or the client, refuses
        raise PipelineError(f"the cluster at {place} says: {_first_line(e, address)}") from None


def _first_line(error: Exception, address: str | None) -> str:
    lines = redacted(str(error), [address or ""]).strip().splitlines()
    return lines[0] if lines else type(error).__name__


def _job(details: JobDetails) -> Job:
    status = JobStatus(details.status).value.lower()
    return Job(
        id=details.submission_id,
        status=status,
        exit_code=details.driver_exit_code,
        output=(details.metadata or {}).get(MARK, ""),
        started=_time(details.start_time),
        ended=_time(details.end_time),
        message=(details.message or "").partition("\n")[0].rstrip(":, "),  # its log may follow
    )


def _time(milliseconds: int | None) -> str | None:
    if not milliseconds:
        return None
    return datetime.fromtimestamp(milliseconds / 1000, UTC).isoformat(timespec="seconds")
