"""How fast a job goes: small crops of a few of its images are restored, where an actor would be."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, replace

import pyarrow as pa
import ray
import torch
from ray.exceptions import GetTimeoutError, RayError

from pipeline.arrays import unpack
from pipeline.errors import PipelineError
from pipeline.flow.flow import encoding, loading, restoring
from pipeline.flow.isolate import Step
from pipeline.flow.ray_errors import first_line
from pipeline.flow.resources import Resources
from pipeline.flow.source import block_of
from pipeline.job import Job
from pipeline.outlook.crops import cropped
from pipeline.restoring.restorer import Restorer
from pipeline.spec.job import JobSpec
from pipeline.steps.encode import Encode
from pipeline.steps.load import Load
from pipeline.steps.table import errors_of

IMAGES = 3
# Sides of a crop in pixels: the next one is taken where the one before is too small for the job,
# for its kernel say, or shows none of what a mask hides.
SIDES = (128, 256, 512)
EVALUATIONS = 25  # of the network that are measured at most; of more the time is in proportion
WARM_SECONDS = 5.0  # a first time that took longer is not measured once more
ANSWER_SECONDS = 240.0  # for a machine of the cluster, with all that it does


@dataclass(frozen=True)
class Speed:
    """What was measured.

    Attributes:
        device: where the actor computed, in words.
        start: seconds until the actor had its model.
        restoring: seconds of the actor for each pixel of a restored image.
        around: seconds of decoding and encoding, for each pixel of a restored image.
        pixels: of the restored images, where these are restored whole; the mean.
        images: of which parts were restored.
    """

    device: str
    start: float
    restoring: float
    around: float
    pixels: float
    images: int

    def seconds(self, pixels: float, actors: int) -> float:
        """That so many pixels take by so many actors, none of which slows down another."""
        return self.start + pixels * (self.restoring + self.around) / actors


def measure(job: Job, resources: Resources, rows: pa.Table) -> Speed:
    """Restore crops of a few rows in a process with what an actor is given; nothing is written.

    Args:
        job: that was checked.
        resources: of a run of it.
        rows: of its manifest.

    Raises:
        PipelineError: none of them can be restored, or no machine answered in time; in words.
    """
    spec, scale = _shortened(job.spec, job.identity["sampler"]["nfe"])
    encode = encoding(spec.model_copy(update={"images": None}))
    ask = ray.remote(max_calls=1, max_retries=0)(_measured).options(**resources.actor_options)
    enlarged = job.spec.task.enlargement if job.spec.mode == "restore" else 1
    began = time.perf_counter()
    answer = ask.remote(loading(job), restoring(job, spec, resources), encode, rows, enlarged)
    try:
        speed, spent = ray.get(answer, timeout=ANSWER_SECONDS)
    except GetTimeoutError:
        ray.cancel(answer, force=True)
        raise PipelineError(f"no machine has restored them in {ANSWER_SECONDS:.0f} s") from None
    except RayError as e:
        cause = getattr(e, "cause", None) or e
        words = str(cause) if isinstance(cause, PipelineError) else first_line(cause)
        raise PipelineError(words) from None
    begun = time.perf_counter() - began - spent  # until the process was there
    return replace(speed, restoring=speed.restoring * scale, start=speed.start + begun)


def _shortened(spec: JobSpec, nfe: int) -> tuple[JobSpec, float]:
    """The job with fewer evaluations and one sample, and how many times longer it takes itself.

    Args:
        spec: of the job.
        nfe: evaluations that it comes to with its prior.
    """
    update: dict = {
        "samples": 1,
        "estimate": None,
        "uncertainty": False,
        "keep_samples": False,
        "sampler": spec.sampler.model_copy(update={"save_steps": None, "watch_ids": ()}),
    }
    short, scale = spec.model_copy(update=update), float(spec.samples)
    if nfe <= EVALUATIONS:
        return short, scale
    sampler = short.sampler.model_copy(update={"nfe": EVALUATIONS})
    fewer = short.model_copy(update={"sampler": sampler})
    try:
        for spectral in (False, True):
            fewer.sampler_config(spectral)
    except ValueError:  # settings that go with no other number
        return short, scale
    return fewer, scale * nfe / EVALUATIONS


def _measured(
    load: Load, restorer: Callable[..., Restorer], encode: Encode, rows: pa.Table, enlarged: int
) -> tuple[Speed, float]:
    """What was measured here, and the seconds that all of it took."""
    began = time.perf_counter()
    restore = restorer()
    start = time.perf_counter() - began
    loaded, load_seconds = _timed(load, block_of(rows))
    masks = restore.assets.arrays.get("mask", ())
    for side in SIDES:
        crops, mask = cropped(loaded, side, masks[0] if masks else None)
        if mask is not None:
            arrays = {**restore.assets.arrays, "mask": (mask,)}
            restore.assets = replace(restore.assets, arrays=arrays)
        done, seconds = _timed(restore, crops)
        good = [not text for text, _ in errors_of(done)]
        if any(good):
            break
    else:
        raise PipelineError(errors_of(done)[0][0])
    crops = crops.filter(pa.array(good))
    if restore.device.type == "cuda":  # a batch as the job has them
        at_once = restore.denoise.batch_pixels // (side * enlarged) ** 2
        crops = pa.concat_tables([crops] * max(1, at_once // len(crops)))
    if seconds < WARM_SECONDS:  # the first time, all has to be made ready
        done, seconds = _timed(restore, crops)
    _, encode_seconds = _timed(encode, done)
    images = [
        image
        for image, fine in zip(unpack(loaded["image"]), good, strict=True)
        if fine and image is not None
    ]
    whole = [(image.shape[0] * enlarged, image.shape[1] * enlarged) for image in images]
    parts = [picture.shape[:2] for picture in unpack(done["pixels"]) if picture is not None]
    seen = restore.denoise.pixels_seen
    each = seconds / sum(seen(*part) for part in parts)  # of a pixel that the network sees
    pixels = _area(whole)
    speed = Speed(
        device=_device(restore),
        start=start,
        restoring=each * sum(seen(*size) for size in whole) / pixels,
        around=load_seconds / pixels + encode_seconds / _area(parts),
        pixels=pixels / len(whole),
        images=len(whole),
    )
    return speed, time.perf_counter() - began


def _timed(step: Step, table: pa.Table) -> tuple[pa.Table, float]:
    began = time.perf_counter()
    return step(table), time.perf_counter() - began


def _area(sizes: list[tuple[int, int]]) -> int:
    return sum(height * width for height, width in sizes)


def _device(restore: Restorer) -> str:
    if restore.device.type == "cuda":
        return torch.cuda.get_device_name(restore.device)
    count = torch.get_num_threads()
    return f"{count} CPU thread{'s' if count > 1 else ''}"
