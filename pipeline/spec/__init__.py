"""What a job is: one frozen, validated specification, passed whole."""

from pipeline.spec.job import JobSpec
from pipeline.spec.tasks import Deblur, SuperResolve

__all__ = ["Deblur", "JobSpec", "SuperResolve"]
