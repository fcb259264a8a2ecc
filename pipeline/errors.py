"""The exceptions that this package raises on its own account; their texts are for users."""

from __future__ import annotations

# What can be wrong with a row: the values of the results' column ``error_kind``. They are part of
# the output format: names may be added, never changed.
ERROR_KINDS = {
    "bad_value": "a value of the manifest's row is out of range, or missing",
    "bad_uri": "a URI of an unknown scheme",
    "scheme_not_allowed": "a URI of a scheme that the job does not allow",
    "host_not_allowed": "a host without a public address that the job does not allow",
    "unknown_host": "no host has the name that the URI has",
    "host_down": "a host that failed for several files in a row, and was not asked for this one",
    "bad_redirect": "a web server redirects to what is not http or https, or without end",
    "tls": "a host without a certificate, or an encryption, that can be trusted",
    "refused": "a web server refuses the request with a status that none of the others is for",
    "not_found": "no such file",
    "access_denied": "the storage refuses to hand out the file",
    "changed": "the image file is not the one that the manifest names: another size or ETag",
    "not_a_file": "a folder, a device or a pipe",
    "storage": "the storage failed, after several tries",
    "empty_file": "a file of zero bytes",
    "not_an_image": "not an image of a known format",
    "wrong_format": "an image of a format, or of a kind of it, that the task cannot use",
    "damaged": "an image, mask, kernel or noise map file that is truncated or broken",
    "too_large": "more bytes or pixels than the job allows",
    "several_frames": "an animation or a file of several pages",
    "bad_pixels": "pixel values that are not finite or out of range",
    "bad_kernel": "a kernel that is no blur (NaN, negative, all zero), or larger than the image",
    "bad_noise_map": "a noise map that is no array of standard deviations from 0 to 1",
    "bad_mask": "a mask that is not a two-dimensional array of numbers, or hides every pixel",
    "nothing_hidden": "an image to inpaint whose own pixels tell that none of them is damaged",
    "size_mismatch": "a mask, a noise map, a reference or an image whose size does not fit",
    "missing_input": "no kernel, mask or noise level, neither from the row nor from the job",
    "out_of_memory": "the machine, or its GPU, has not the memory for this image alone",
    "not_finite": "the model's output is not finite",
    "crash": "the process that decoded the row's file, or worked on this row alone, died",
    "timeout": "a file of the row was not fetched, or not decoded, in the time allowed",
    "failed": "anything else",
}


class PipelineError(Exception):
    """A job cannot start or go on; the text says why, for a user.

    Examples:
        >>> from pipeline import restore_images
        >>> restore_images("photo.png", "sr", noise_level=0.02)
        Traceback (most recent call last):
        pipeline.errors.PipelineError: factor: required
    """


class JobStopped(PipelineError):
    """The job was at work and cannot go on; the same command resumes it."""


class RowError(Exception):
    """One image cannot be restored. In a job it becomes its row's ``error``, and the job goes on.

    Attributes:
        kind: a key of :data:`ERROR_KINDS`.

    Examples:
        >>> from pipeline import RowError, restore_images
        >>> try:
        ...     restore_images(["no-such-file.png"], "denoise", noise_level=0.1)
        ... except RowError as error:
        ...     print(error.kind)
        not_found
    """

    def __init__(self, message: str, kind: str):
        super().__init__(message)
        self.kind = kind

    def __reduce__(self):
        return RowError, (str(self), self.kind)
