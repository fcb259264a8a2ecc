"""The prior that a job names: files, or what a factory makes."""

from __future__ import annotations

from manifests import storage
from pipeline.priors.factory import PriorCode
from pipeline.priors.files import PriorFiles, files_of_prior, local_place, located
from pipeline.spec.model import Model


def prior_of(model: Model, location: str | None = None) -> PriorFiles | PriorCode:
    """The prior that a job names: a checkpoint's files, or a factory.

    Args:
        model: of the job.
        location: of its file, as another machine found it (:attr:`PriorFiles.location`).

    Raises:
        StorageError, CheckpointError: as :func:`pipeline.priors.files.files_of_prior`.
    """
    if not model.factory:
        return files_of_prior(model.model_copy(update={"path": location}) if location else model)
    if model.is_file:
        used, found = local_place(location or located(model).path)
        return PriorCode(model.factory, model.options, found, used)
    return PriorCode(model.factory, model.options, model.factory, None)


def shown_name(model: Model) -> str:
    """What messages call a prior."""
    return model.factory or storage.shown(model.path)
