"""The exceptions that this package raises on its own account; their texts are for users."""


class ManifestError(Exception):
    """A manifest, or a file that it names, is not what it should be."""


class StorageError(ManifestError):
    """A file or folder cannot be read or written; names it, and the cause.

    Attributes:
        kind: ``not_found``, ``access_denied``, ``not_a_file``, ``too_large`` (more bytes than
            asked for), ``bad_uri`` (an unknown scheme), ``timeout``, ``changed`` (another ETag),
            ``host_not_allowed``, ``host_down``, ``unknown_host``, ``bad_redirect``, ``tls`` and
            ``refused`` (of web servers), or ``storage`` for everything else.
        host_failed: the host that the URI names did not answer, or not in time, or that it has a
            fault, however often it was asked.
    """

    def __init__(self, message: str, kind: str = "storage", *, host_failed: bool = False):
        super().__init__(message)
        self.kind = kind
        self.host_failed = host_failed
