import csv
import io
import zipfile

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.decode import check_kernel, decode_image, decode_kernel, decode_mask, kernel_names
from pipeline.errors import RowError
from pipeline.naming import image_path
from tests.pictures import photograph, save_broken, save_kinds
from tests.support import SHARED

HOSTILE = SHARED / "data" / "hostile"


def npy(array, **kwargs):
    buffer = io.BytesIO()
    np.save(buffer, array, **kwargs)
    return buffer.getvalue()


def test_every_kind_of_picture_shows_the_same_scene(tmp_path):
    scene = np.asarray(photograph().convert("L")) / 255
    for name, path in save_kinds(tmp_path).items():
        array = decode_image(path.read_bytes())
        assert array.dtype == (np.uint16 if name.startswith(("sixteen", "float")) else np.uint8)
        level = array / np.iinfo(array.dtype).max
        level = level if level.ndim == 2 else level.mean(axis=2)
        if name == "turned.jpg":
            level = np.rot90(level)
        assert np.corrcoef(level.ravel(), scene.ravel())[0, 1] > (0.6 if "bi" in name else 0.97)


def test_broken_files_are_refused(tmp_path):
    for path in save_broken(tmp_path).values():
        with pytest.raises(RowError):
            decode_image(path.read_bytes())


@pytest.mark.skipif(not HOSTILE.exists(), reason=f"no corpus of hostile files at {HOSTILE}")
def test_hostile_files_end_as_a_picture_or_a_row_error():
    with (HOSTILE / "expect.csv").open() as f:
        rows = list(csv.DictReader(f))
    assert len(rows) > 100
    for row in rows:
        data = (HOSTILE / row["file"]).read_bytes()
        try:
            array = decode_image(data)
        except RowError as e:
            assert str(e), row["file"]
        else:
            assert row["opens"] == "yes", row["file"]
            assert array.dtype in (np.uint8, np.uint16) and array.ndim in (2, 3)
            assert array.shape[2:] in ((), (3,))


def test_masks_are_images_or_arrays(tmp_path):
    mask = np.zeros((4, 6), bool)
    mask[1:3] = True
    assert np.array_equal(decode_mask(npy(mask.astype(float))), mask)
    buffer = io.BytesIO()
    from PIL import Image

    Image.fromarray(mask).save(buffer, "PNG")
    assert np.array_equal(decode_mask(buffer.getvalue()), mask)
    for wrong in (npy(np.zeros((2, 3, 4))), b"", b"text", npy(mask)[:90]):
        with pytest.raises(RowError):
            decode_mask(wrong)


def test_kernels_are_arrays_archives_or_images():
    k = np.array([[0.0, 1, 2], [3, 4, 5]])
    assert np.allclose(decode_kernel(npy(k)), k / 15)
    archive = io.BytesIO()
    np.savez(archive, a=k, b=k.T)
    assert kernel_names(archive.getvalue()) == ["a", "b"]
    assert decode_kernel(archive.getvalue(), "b").shape == (3, 2)
    with pytest.raises(RowError, match="holds a, b: name one of them"):
        decode_kernel(archive.getvalue())
    buffer = io.BytesIO()
    photograph(5, 4).save(buffer, "PNG")
    assert decode_kernel(buffer.getvalue()).shape == (4, 5)


@pytest.mark.parametrize(
    "kernel, words",
    [
        ([[1.0, np.nan]], "NaN"),
        ([[1.0, np.inf]], "infinity"),
        ([[1.0, -0.5]], "negative"),
        ([[0.0, 0.0]], "zero everywhere"),
        ([1.0, 2.0], "shape"),
        (np.zeros((0, 3)), "shape"),
        ([["a"]], "expected numbers"),
        ([[1j]], "expected numbers"),
    ],
)
def test_what_is_no_blur_is_refused(kernel, words):
    with pytest.raises(RowError, match=words):
        check_kernel(np.asarray(kernel))


def test_what_only_looks_like_numpy_is_refused():
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w") as z:
        z.writestr("k", "text")
    for decode in (decode_kernel, decode_mask):
        with pytest.raises(RowError, match="not of numpy arrays"):
            decode(archive.getvalue())
    for values in (np.zeros((2, 2), [("a", "i4")]), np.array([["x"]]), np.array([[np.nan]])):
        with pytest.raises(RowError, match="no finite numbers"):
            decode_mask(npy(values))


def test_large_values_of_a_kernel_do_not_overflow():
    assert np.allclose(check_kernel(np.full((2, 2), 1e308)), 0.25)


def test_photographs_with_a_preview_are_taken_and_no_other_program_is_run():
    buffer = io.BytesIO()
    photograph().save(buffer, "MPO", save_all=True, append_images=[photograph(16, 16)])
    assert decode_image(buffer.getvalue()).shape == (40, 48, 3)
    with pytest.raises(RowError, match="not an image of a known format"):
        decode_image(b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n%%EndComments\n")


def test_pickles_in_arrays_are_not_run():
    with pytest.raises(RowError, match="cannot be read"):
        decode_kernel(npy(np.array([[object()]]), allow_pickle=True))


IDS = st.text(min_size=1, max_size=300) | st.lists(
    st.sampled_from(["a", "a.png", ".", "..", "", "%", "é" * 150, "con:", "x\n"]), min_size=1
).map("/".join)


@given(IDS)
def test_an_id_never_leads_outside_the_output(image_id):
    path = image_path(image_id)
    parts = path.split("/")
    assert path.endswith(".png") and not path.startswith("/")
    for part in parts:
        assert part not in ("", ".", "..") and "\0" not in part and "\\" not in part
        assert len(part.encode()) <= 255


@given(st.lists(IDS, min_size=2, max_size=8, unique=True))
def test_different_ids_have_different_paths_and_no_file_is_a_folder(ids):
    paths = [image_path(i) for i in ids]
    assert len(set(paths)) == len(ids)
    folders = {p.rsplit("/", n)[0] for p in paths for n in range(1, p.count("/") + 1)}
    assert not folders & set(paths)
