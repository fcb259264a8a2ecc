"""The exceptions that this library raises on its own account."""


class DiffPIRError(Exception):
    """Base of them all; its text is fit to be shown to a user as it stands."""


class ConfigError(DiffPIRError, ValueError):
    """A setting is out of range or contradicts another."""


class CheckpointError(DiffPIRError):
    """A file is not a checkpoint that can be used."""


class EstimationError(DiffPIRError):
    """What is to be told from a measurement cannot be told from this one."""
