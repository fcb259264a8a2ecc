"""Kernels from MATLAB's files: what is in them, and what they must not do."""

import io
import random
import struct
import zlib

import numpy as np
import pytest
import scipy.io

from pipeline.errors import ERROR_KINDS, RowError
from pipeline.fence.decoders import decode_kernel, kernel_names
from pipeline.pictures.array_files import MAT
from tests.pictures import decoding_takes

EYE = np.eye(3, 4)


def mat(compressed: bool, **variables) -> bytes:
    buffer = io.BytesIO()
    scipy.io.savemat(buffer, variables, do_compression=compressed)
    return buffer.getvalue()


def cells(*matrices) -> np.ndarray:
    array = np.empty((1, len(matrices)), object)
    array[0, :] = matrices
    return array


def file_of(*elements: bytes) -> bytes:
    header = MAT.ljust(124) + struct.pack("<H2s", 0x0100, b"IM")
    return header + b"".join(elements)


def element(kind: int, content: bytes) -> bytes:
    return struct.pack("<II", kind, len(content)) + content.ljust(-(-len(content) // 8) * 8, b"\0")


def array(array_class: int, shape, *content: bytes) -> bytes:
    flags = element(6, struct.pack("<II", array_class, 0))
    sides = element(5, struct.pack(f"<{len(shape)}i", *shape))
    return element(14, flags + sides + element(1, b"k") + b"".join(content))


@pytest.mark.parametrize("compressed", [False, True])
def test_matrices_and_cells_are_found_by_name(compressed):
    several = cells(EYE, np.full((2, 6), 0.5), EYE.T.astype(np.uint8), "text", cells(EYE))
    data = mat(
        compressed, kernels=several, k=EYE, even=np.ones((4, 2), np.int16), text="none",
        volume=np.ones((2, 2, 2)), complex=EYE * 1j, record={"k": EYE},
    )  # fmt: skip
    assert kernel_names(data) == ["kernels[1]", "kernels[2]", "kernels[3]", "k", "even"]
    assert np.allclose(decode_kernel(data, "k"), EYE / 3)
    assert np.allclose(decode_kernel(data, "kernels[3]"), EYE.T / 3)
    assert np.allclose(decode_kernel(data, "even"), np.full((4, 2), 1 / 8))
    with pytest.raises(RowError, match=r"holds kernels\[1\], .* even: name one of them"):
        decode_kernel(data)
    uneven = np.arange(6.0).reshape(2, 3)
    assert np.allclose(decode_kernel(mat(compressed, k=uneven)), uneven / 15)


@pytest.mark.parametrize(
    "data, kind, words",
    [
        (b"MATLAB 7.3 MAT-file, Platform: GLNXA64" + bytes(600), "bad_kernel", "'-v7'"),
        (b"\x89HDF\r\n\x1a\n" + bytes(99), "bad_kernel", "HDF5"),
        (mat(False, k=EYE)[:-9], "damaged", "cannot be read"),
        (mat(True, k=EYE)[:-9], "damaged", "cannot be read"),
        (mat(False, k=EYE)[:100], "damaged", "cannot be read"),
        (mat(False, k=-EYE), "bad_kernel", "negative"),
        (mat(False, k=EYE * np.nan), "bad_kernel", "NaN"),
        (mat(False, text="none"), "bad_kernel", "no array"),
        (mat(True, k=np.ones((1025, 1024))), "too_large", "1048576"),
        (file_of(array(6, (2**30, 2**30), element(9, bytes(8)))), "too_large", "its shape is"),
        (file_of(array(6, (-1, -1), element(9, bytes(8)))), "too_large", "its shape is"),
        (file_of(array(1, (2**30, 2**30))), "damaged", "array is too big"),
        (file_of(array(1, (1, 1001), *[array(6, (1, 1), element(9, b"1" * 8))] * 1001)),
         "too_large", "more than 1000"),
        (file_of(struct.pack("<II", 15, 9) + b"no stream"), "damaged", "cannot be read"),
    ],
    ids=lambda value: value if isinstance(value, str) else "file",  # a file tells the time
)  # fmt: skip
def test_what_is_no_kernel_is_refused(data, kind, words):
    with pytest.raises(RowError, match=words) as e:
        decode_kernel(data)
    assert e.value.kind == kind


def test_nothing_is_inflated_beyond_the_limit():
    bomb = zlib.compress(bytes(2**28))
    no_matrix = file_of(struct.pack("<II", 15, len(bomb)) + bomb)
    cell = array(9, (2**12, 2**12), element(2, bytes(2**24)))
    bomb = zlib.compress(array(1, (1, 40), *[cell] * 40), 1)
    zeros = file_of(struct.pack("<II", 15, len(bomb)) + bomb)
    for data, kind in ((no_matrix, "damaged"), (zeros, "out_of_memory")):
        with decoding_takes(2**10), pytest.raises(RowError) as e:
            decode_kernel(data, max_pixels=2**16)
        assert e.value.kind == kind


@pytest.mark.parametrize("compressed", [False, True])
def test_broken_bytes_become_kernels_or_errors(compressed):
    """SciPy's reader crashes on some of them, which costs a child process."""
    whole, rng = mat(compressed, kernels=cells(EYE, EYE), k=EYE), random.Random(0)
    for _ in range(1000):
        data = bytearray(whole[: rng.choice([len(whole), rng.randrange(130, len(whole))])])
        for _ in range(rng.randrange(1, 6)):
            data[rng.randrange(120, len(data))] = rng.choice(
                [0, 1, 14, 15, 255, rng.randrange(256)]
            )
        try:
            assert decode_kernel(bytes(data), "kernels[2]").sum() == pytest.approx(1)
        except RowError as e:
            assert e.kind in ERROR_KINDS and len(str(e)) < 400
