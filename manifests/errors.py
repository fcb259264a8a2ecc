"""The exceptions that this package raises on its own account; their texts are for users."""


class ManifestError(Exception):
    """A manifest, or a file that it names, is not what it should be."""


class StorageError(ManifestError):
    """A file or folder cannot be read or written; names it, and the cause."""
