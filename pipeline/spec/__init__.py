"""What a job is: one frozen, validated specification, passed whole."""

from pipeline.spec.job import JobSpec

__all__ = ["JobSpec"]
