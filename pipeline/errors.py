"""The exceptions that this package raises on its own account; their texts are for users."""


class PipelineError(Exception):
    """The job cannot start or go on."""


class RowError(Exception):
    """One row cannot be restored; it becomes that row's ``error`` and the job goes on."""
