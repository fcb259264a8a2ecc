"""The exceptions that this library raises on its own account."""


class DiffPIRError(Exception):
    """Base class of the errors of this library; the text of each can be shown to a user as it is.

    Examples:
        >>> from diffpir import CheckpointError, ConfigError, DiffPIRError
        >>> issubclass(ConfigError, DiffPIRError) and issubclass(CheckpointError, DiffPIRError)
        True
    """


class ConfigError(DiffPIRError, ValueError):
    """A setting is out of its range, or contradicts another setting.

    Examples:
        >>> from diffpir import SamplerConfig
        >>> SamplerConfig(zeta=2.0)
        Traceback (most recent call last):
        diffpir.errors.ConfigError: zeta must be a number from 0 to 1, got 2.0
    """


class CheckpointError(DiffPIRError):
    """A file is not a checkpoint that this library can use; the text names the file and the reason.

    Examples:
        >>> from diffpir import CheckpointError, load_model
        >>> try:
        ...     load_model("no-such-file.pt")
        ... except CheckpointError as error:
        ...     print("no-such-file.pt" in str(error))
        True
    """


class EstimationError(DiffPIRError):
    """What is to be told from a measurement cannot be told from this one."""
