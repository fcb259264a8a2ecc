"""Restore images in one call, in this process: what a notebook or a script wants."""

from __future__ import annotations

import difflib
import os
import re
import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, Literal, overload

import numpy as np
import torch
from PIL import Image
from pydantic import ValidationError

from pipeline.errors import PipelineError, RowError
from pipeline.in_memory.given import BESIDE, Given, beside, inputs_of, name_of, one_by_one
from pipeline.in_memory.restored import RestoredImage, RestoredImages
from pipeline.job_warnings import MOSTLY_HIDDEN, NOT_EXPLAINED, job_warnings
from pipeline.output.parts import Tally
from pipeline.output.result_warnings import result_warnings
from pipeline.prepare import check_method, check_model
from pipeline.restoring.image_sampler import Restored
from pipeline.restoring.problem import Problem, build_problem
from pipeline.restoring.restorer import Restorer
from pipeline.spec.faults import faults_of
from pipeline.spec.job import JobSpec, Sampler
from pipeline.tasks import TASKS
from pipeline.tasks.assets import Assets
from pipeline.tasks.linear import LinearTask
from pipeline.tasks.task import Task
from pipeline.users_code import code_digests
from pipeline.versions import Versions

# Keys of a job file that mean something without manifests, files and clusters.
OF_JOB = (
    "mode", "samples", "estimate", "uncertainty", "uncertainty_scale", "keep_samples", "channels",
    "range", "seed", "batch_pixels", "precision", "compile", "picture", "tile", "max_pixels",
)  # fmt: skip
OF_SAMPLER = tuple(name for name in Sampler.model_fields if name not in ("save_steps", "watch_ids"))
OnProgress = Callable[[int, int], None]


@overload
def restore_images(
    images: Image.Image | str | os.PathLike | bytes,
    task: str = ...,
    model: str | dict[str, Any] = ...,
    **settings: Any,
) -> RestoredImage: ...
@overload
def restore_images(
    images: Sequence[Given] | Iterator[Given],
    task: str = ...,
    model: str | dict[str, Any] = ...,
    **settings: Any,
) -> RestoredImages: ...
@overload
def restore_images(
    images: np.ndarray | torch.Tensor,
    task: str = ...,
    model: str | dict[str, Any] = ...,
    **settings: Any,
) -> Any: ...  # one image, or several along a first axis of four
def restore_images(
    images: Given | Iterable[Given],
    task: str = "denoise",
    model: str | dict[str, Any] = "builtin",
    *,
    device: Literal["cpu", "cuda"] | None = None,
    ids: Sequence[str] | None = None,
    progress: OnProgress | None = None,
    **settings: Any,
) -> RestoredImage | RestoredImages:
    """Restore one image or many, in this process and without Ray.

    The results are those of a job with the same settings, ids and seed. (A pixel may differ by one
    grey level where other images were restored together with this one, as sums are then rounded
    otherwise.) Images may have different sizes. All are checked before the first one is restored.
    The model is loaded for each call, so give many images to one call where the model is large.

    Args:
        images: one image, or several. An image is an array (H, W) or (H, W, C), a tensor (C, H, W),
            a PIL image, the path or URI of a file, or the bytes of a file. A sequence, an array (N,
            H, W, C) or a tensor (N, C, H, W) is several images. Numbers are whole numbers of 8 or
            16 bits, or floating-point numbers from 0 (black) to 1 (white); ``range=(0, 4095)`` says
            that other numbers are black and white. The task ``jpeg`` takes paths and bytes alone.
        task: what happened to the images: ``denoise``, ``deblur``, ``sr``, ``inpaint``,
            ``colorize``, ``demosaic``, ``jpeg``, ``declip``, ``dequantize`` or ``linear``.
        model: the prior, as in a job: ``builtin``, a known name, a path or URI, or a dictionary.
        device: ``cpu`` or ``cuda``; None is the GPU if there is one.
        ids: a name for each image. Together with ``seed`` it decides the image's random numbers.
            The usual id is the name of a file without its suffix, or else the image's place.
        progress: is called with the network evaluations done so far and their total, counted for
            each image.
        **settings: keys of the task (``noise_level``, ``kernel``, ``factor``, ``mask``, ...), of
            the sampler (``nfe``, ``lam``, ``zeta``, ``method``, ``preset``, ...) and of the job
            (``seed``, ``samples``, ``uncertainty``, ``precision``, ``tile``, ``picture``, ``mode``,
            ...), with the meaning that they have in a job file. ``kernel``, ``mask``, ``noise_map``
            and ``reference`` may be arrays: one for all images, or a list with one for each. A
            mask is true, or light, where the image is known. With a ``reference``, the true image,
            the results have metrics. For the task ``linear``, ``operator`` may be an object with
            the methods ``forward`` and ``adjoint`` (:class:`diffpir.Linear`).

    Returns:
        A :class:`RestoredImage` for one image, and a list of them (:class:`RestoredImages`) for
        several.

    Raises:
        PipelineError: a setting or the model is wrong.
        RowError: an image is wrong, or could not be restored; names the image by its place.

    Examples:
        >>> import numpy as np
        >>> from pipeline import restore_images
        >>> noisy = np.random.default_rng(0).normal(0.5, 0.1, (32, 32, 3)).clip(0, 1)
        >>> result = restore_images(noisy, "denoise", noise_level=0.1, nfe=2, device="cpu")
        >>> result.image.shape, result.image.dtype
        ((32, 32, 3), dtype('uint8'))
        >>> bool(result.image.std() < 255 * noisy.std())
        True
    """
    given, many = one_by_one(images)
    if not given:
        return RestoredImages()
    gpu = device == "cuda" if device else torch.cuda.is_available()
    if gpu and not torch.cuda.is_available():
        raise PipelineError("device: cuda is asked for, and PyTorch finds no GPU here; use cpu")
    others = beside(settings, len(given))
    spec = _spec(task, model, settings)
    names = list(ids) if ids is not None else [name_of(one, i) for i, one in enumerate(given)]
    if len(names) != len(given):
        raise PipelineError(f"ids: {len(names)} are given for {len(given)} images")
    columns = [name for name in BESIDE if all(name in row for row in others)]
    _check_complete(spec, columns)
    check_method(spec, columns)
    assets = Assets.of(spec.task.all_assets(spec.mode, ()))
    prior = check_model(spec)
    for text in (*prior.notes, *job_warnings(spec, assets)):
        warnings.warn(text, stacklevel=2)
    problems = [
        _problem(place, *row, spec, assets, prior.channels)
        for place, row in enumerate(zip(names, given, others, strict=True))
    ]
    meter = _Meter(progress, len(problems) * spec.samples * prior.config.nfe)
    restorer = Restorer(
        spec,
        assets,
        prior.location,
        Versions(prior.digest, code=code_digests(spec)),
        spec.batch_pixels_on(gpu=gpu),
        gpu=gpu,
        on_step=meter.add,
    )
    constant = {"task": spec.task.kind, **_plain(spec.task), "model": spec.model.path}
    constant |= {k: v for k, v in prior.config.told().items() if v is not None}
    constant |= {"seed": spec.seed}
    results = RestoredImages()
    found = zip(problems, restorer.restored(problems), strict=True)
    for place, (problem, restored) in enumerate(found):
        results.append(_result(place, problem, restored, constant))
    meter.end()
    for text in _result_warnings(spec, results):
        warnings.warn(text, stacklevel=2)
    return results if many else results[0]


class _Meter:
    """Tells the user's function how far the work is."""

    def __init__(self, progress: OnProgress | None, total: int):
        self.progress, self.total, self.done = progress, total, 0

    def add(self, count: int) -> None:
        # What did not fit into memory is evaluated once more in smaller batches.
        self.done = min(self.done + count, self.total)
        if self.progress:
            self.progress(self.done, self.total)

    def end(self) -> None:
        if self.done < self.total:
            self.add(self.total)


class _GivenOperator(LinearTask):
    """The task ``linear`` with an operator that is an object of this process."""

    operator: Any

    def code(self) -> dict[str, str]:
        return {}

    def made(self) -> Any:
        return self.operator


def _spec(task: str, model: str | dict[str, Any], settings: dict[str, Any]) -> JobSpec:
    """The job that these settings describe.

    Raises:
        PipelineError: one is unknown, or wrong; names it.
    """
    kind = TASKS.get(task, Task)
    fields: dict[str, Any] = {"kind": task}
    job: dict[str, Any] = {"manifest": "images", "output": "images", "model": model}
    sampler: dict[str, Any] = {}
    for name, value in settings.items():
        for names, part in ((kind.model_fields, fields), (OF_SAMPLER, sampler), (OF_JOB, job)):
            if name in names:
                part[name] = value
                break
        else:
            known = [*kind.model_fields, *OF_SAMPLER, *OF_JOB, *BESIDE]
            near = difflib.get_close_matches(name, [n for n in known if n != "kind"], n=1)
            hint = f"; did you mean {near[0]}?" if near else ""
            raise PipelineError(f"{name}: the task {task} has no such setting{hint}")
    job.setdefault("picture", {})
    if isinstance(job["picture"], dict):
        job["picture"] = {"format": "npy", **job["picture"]}  # which holds any channels and bits
    job |= {"task": fields, "sampler": sampler}
    try:
        if task == "linear" and not isinstance(fields.get("operator", ""), str):
            job["task"] = _GivenOperator.model_validate(fields)
        return JobSpec.model_validate(job)
    except ValidationError as e:
        faults = [line.strip() for line in faults_of(e, job)]
        faults = [line.removeprefix("task.").removeprefix("sampler.") for line in faults]
        faults = [re.sub("^kind:", "task:", line) for line in faults]
        raise PipelineError("\n".join(faults)) from None


def _check_complete(spec: JobSpec, columns: Sequence[str]) -> None:
    for name in spec.task.missing:
        if name not in columns and not (name == "noise_level" and "noise_map" in columns):
            raise PipelineError(f"{name}: required to {spec.task.kind} images")


def _problem(
    place: int,
    name: str,
    image: Given,
    others: dict[str, Any],
    spec: JobSpec,
    assets: Assets,
    channels: int,
) -> Problem:
    try:
        inputs = inputs_of(image, others, spec, channels)
        return build_problem({"id": name}, inputs, spec, assets, channels)
    except RowError as e:
        raise RowError(f"images[{place}]: {e}", e.kind) from None


def _result(
    place: int, problem: Problem, restored: Restored, settings: dict[str, Any]
) -> RestoredImage:
    if restored.picture is None:
        text, kind = restored.error
        raise RowError(f"images[{place}]: {text}", kind)
    measured = problem.y if problem.colours is None else problem.colours
    return RestoredImage(
        image=restored.picture,
        before=_shown(problem.peak * measured),
        reference=None if problem.reference is None else _shown(problem.reference),
        outcome={k: v for k, v in restored.outcome.items() if v is not None},
        settings=settings,
        uncertainty=restored.uncertainty,
        samples=restored.samples,
    )


def _shown(x: torch.Tensor) -> np.ndarray:
    """(H, W) or (H, W, C) uint8, of (1, C, H, W) on [0, 1]."""
    planes = (x[0].clamp(0, 1) * 255).round().byte().permute(1, 2, 0).numpy()
    return planes[:, :, 0] if planes.shape[2] == 1 else planes


def _plain(task: Task) -> dict[str, Any]:
    """The task's fields that were given, as a reader can be shown them."""
    given = task.model_dump(exclude_none=True, exclude={"kind", "operator"})
    return {name: value for name, value in given.items() if name in task.model_fields_set}


def _result_warnings(spec: JobSpec, results: RestoredImages) -> Iterator[str]:
    residuals = [r.residual for r in results] if spec.task.is_linear else []
    unexplained = sum(value is not None and value > NOT_EXPLAINED for value in residuals)
    warned = sum("warning" in result.outcome for result in results)
    hidden = sum(result.outcome.get("hidden", 0) > MOSTLY_HIDDEN for result in results)
    return result_warnings(
        Tally(
            rows=len(results),
            unexplained=unexplained,
            too_clean=warned - unexplained,
            mostly_hidden=hidden,
        )
    )
