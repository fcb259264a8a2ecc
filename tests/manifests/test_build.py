"""Building manifests from folders, globs, lists and buckets, and checking them."""

from __future__ import annotations

import json
import os

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from manifests import storage
from manifests.build import build, write_manifest
from manifests.check import check
from manifests.errors import ManifestError
from manifests.read import read_manifest
from pipeline.fence.decoders import file_fault


def encoded(tmp_path, name: str, size=(6, 4), orientation: int = 1) -> bytes:
    exif = Image.Exif()
    exif[0x0112] = orientation
    Image.new("RGB", size).save(tmp_path / name, exif=exif)
    data = (tmp_path / name).read_bytes()
    (tmp_path / name).unlink()
    return data


@pytest.fixture(params=["local", "s3"])
def folder(request, tmp_path):
    """A source: pictures in two folders, one turned, one broken, and files that are none."""
    if request.param == "local":
        root = str(tmp_path / "a set")
    else:
        root = request.getfixturevalue("s3_prefix")
    for name, data in {
        "b.png": encoded(tmp_path, "b.png"),
        "a.JPG": encoded(tmp_path, "a.jpg"),
        "sub/turned.jpg": encoded(tmp_path, "turned.jpg", orientation=6),
        "sub/turned.png": encoded(tmp_path, "turned.png", orientation=6),
        "sub/broken.png": b"no picture",
        "notes.md": b"",
        ".hidden.png": b"",
        ".cache/c.png": b"",
    }.items():
        storage.write_bytes(storage.join(root, name), data)
    return root


def test_a_folder(folder):
    table = build(folder)
    rows = {row["id"]: row for row in table.to_pylist()}
    assert list(rows) == ["a", "b", "sub/broken", "sub/turned.jpg", "sub/turned.png"]
    assert rows["b"]["image"] == storage.join(folder, "b.png")
    sizes = {name: (row["width"], row["height"]) for name, row in rows.items()}
    assert sizes["a"] == sizes["b"] == (6, 4)
    assert sizes["sub/turned.jpg"] == sizes["sub/turned.png"] == (4, 6)
    assert sizes["sub/broken"] == (None, None)
    assert rows["sub/broken"]["bytes"] == 10
    uri = storage.join(folder, "manifest.parquet")
    write_manifest(table, uri)
    assert read_manifest(uri).to_pylist() == table.to_pylist()
    assert [(f.row, f.id) for f in check(uri)] == [(3, "sub/broken")]


def test_ids_do_not_depend_on_what_else_is_there(folder):
    assert build(storage.join(folder, "sub"))["id"].to_pylist()[0] == "broken"
    assert build(storage.join(folder, "b.png"))["id"].to_pylist() == ["b"]


def test_a_glob(folder):
    assert build(storage.join(folder, "*.png"))["id"].to_pylist() == ["b"]
    found = build(storage.join(folder, "**", "*.png"))["id"].to_pylist()
    assert found == ["b", "sub/broken", "sub/turned"]


def test_a_list(folder):
    lines = ["# mine", "", "b.png", "sub/turned.jpg", storage.join(folder, "gone.png"), "b.png"]
    uri = storage.join(folder, "list.txt")
    storage.write_bytes(uri, "\r\n".join(lines).encode())
    table = build(uri)
    assert table["id"].to_pylist() == ["b", "gone", "sub/turned"]
    assert table["width"].to_pylist() == [6, None, 4]


def test_a_list_across_storages(tmp_path, s3_prefix):
    lines = [f"{s3_prefix}/x.png", "y.png"]
    storage.write_bytes(str(tmp_path / "list.txt"), "\n".join(lines).encode())
    ids = build(str(tmp_path / "list.txt"))["id"].to_pylist()
    assert len(set(ids)) == 2


def test_a_suffix_kept_never_makes_another_id(tmp_path):
    for name in ("a.png", "a.jpg", "a.png.gif"):
        Image.new("L", (1, 1)).save(tmp_path / name)
    assert build(str(tmp_path))["id"].to_pylist() == ["a.jpg", "a.png", "a.png.gif"]


def test_nothing_to_build_from(tmp_path):
    with pytest.raises(ManifestError, match=r"no images found .*\.avif"):
        build(str(tmp_path))
    with pytest.raises(ManifestError, match="no such folder"):
        build(str(tmp_path / "none"))
    (tmp_path / "list.txt").write_text("# nothing\n")
    with pytest.raises(ManifestError, match="the list names no images"):
        build(str(tmp_path / "list.txt"))


def test_a_file_that_is_neither_an_image_nor_a_list(folder, tmp_path):
    for name, data in {"l.lst": b"b.png\n", "m.tsv": b"id\timage\n", "no suffix": b""}.items():
        storage.write_bytes(storage.join(folder, name), data)
        with pytest.raises(ManifestError, match=f"{name} is neither an image nor a list .*txt"):
            build(storage.join(folder, name))
    storage.write_bytes(storage.join(folder, "scan"), encoded(tmp_path, "x.png"))
    assert build(storage.join(folder, "scan"))["width"].to_pylist() == [6]
    assert build(storage.join(folder, "sub/broken.png"))["width"].to_pylist() == [None]


def test_links_to_folders_are_followed_each_once(tmp_path):
    for name in ("set/b/1.png", "set/b/c/2.png", "elsewhere/d/3.png", "elsewhere/4.png"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        Image.new("L", (1, 1)).save(tmp_path / name)
    root = tmp_path / "set"
    (root / "a").symlink_to("b")  # has a name without a link
    (root / "b" / "up").symlink_to("..")
    (root / "x").symlink_to(tmp_path / "elsewhere")
    (root / "y").symlink_to(tmp_path / "elsewhere" / "d")
    (tmp_path / "elsewhere" / "back").symlink_to(root)
    (root / "z.png").symlink_to("nowhere")
    (root / "5.png").symlink_to(tmp_path / "elsewhere" / "4.png")  # to a file, as ever
    rest = ["5", "b/1", "b/c/2", "x/4", "x/d/3"]
    assert build(str(root))["id"].to_pylist() == [*rest, "z"]
    assert build(f"{root}/**/*.png")["id"].to_pylist() == [*rest, "z"]
    assert build(f"{root}/**/[1-5].png")["id"].to_pylist() == rest
    assert build(f"{root}/[ab]/**/*.png")["id"].to_pylist()[:2] == ["b/1", "b/c/2"]
    assert build(f"{root}/a/**/*.png")["image"].to_pylist()[0] == f"{root}/a/1.png"
    assert build(f"{root}/[xy]/*.png")["id"].to_pylist() == ["x/4", "y/3"]
    assert build(f"{root}/**/a/*.png")["id"].to_pylist() == ["a/1"]
    assert build(f"{root}/**/[ab]/**/2.png")["id"].to_pylist() == ["b/c/2"]
    assert build(f"{root}/**/d/*.png")["id"].to_pylist() == ["x/d/3"]


def test_a_link_to_a_hidden_folder(tmp_path):
    (tmp_path / ".store" / ".deep").mkdir(parents=True)
    for name in (".store/1.png", ".store/.deep/2.png"):
        Image.new("L", (1, 1)).save(tmp_path / name)
    (tmp_path / ".store" / ".link").symlink_to(tmp_path)
    (tmp_path / "pictures").symlink_to(".store")
    for source in (tmp_path, tmp_path / "**" / "*.png"):
        assert build(str(source))["id"].to_pylist() == ["pictures/1"]
    assert build(str(tmp_path / ".store"))["id"].to_pylist() == ["1"]


def test_a_name_that_is_not_text_is_left_out_and_told(tmp_path):
    with open(os.fsencode(tmp_path) + b"/\xff.png", "wb"):
        pass
    told = []
    with pytest.raises(ManifestError, match="no image there has a name in UTF-8"):
        build(str(tmp_path), told.append)
    Image.new("L", (4, 3)).save(tmp_path / "é.png")
    assert build(str(tmp_path), told.append)["id"].to_pylist() == ["é"]
    assert told == [[f"{tmp_path}/\udcff.png"]] * 2


def test_check_names_every_fault(tmp_path):
    Image.effect_noise((64, 64), 50).save(tmp_path / "good.png")
    data = (tmp_path / "good.png").read_bytes()
    (tmp_path / "cut.png").write_bytes(data[: len(data) // 2])
    (tmp_path / "empty.png").write_bytes(b"")
    (tmp_path / "m.csv").write_text(
        "id,image,noise_level,mask,refrence\n"
        "a,good.png,0.1,,\n"
        "a,good.png,25,,\n"
        ",good.png,,,\n"
        "c,gone.png,,gone.npy,\n"
        "d,empty.png,,,\n"
        "e,cut.png,,,\n"
    )

    def found(**options):
        return [(f.row, str(f)) for f in check(str(tmp_path / "m.csv"), **options)]

    faults = found()
    expected = [
        (0, "did you mean 'reference'?"),
        (2, "the same as in row 1"),
        (2, "noise_level: expected from 0 to 1, got 25.0"),
        (3, "id: the row has none"),
        (4, "image: no such file: "),
        (4, "mask: no such file: "),
        (5, "is empty (0 bytes)"),
    ]
    assert [row for row, _ in faults] == [row for row, _ in expected]
    for (_, message), (_, part) in zip(faults, expected, strict=True):
        assert part in message
    deep = found(file_fault=file_fault)
    assert deep[:-1] == faults
    assert deep[-1][0] == 6
    assert "cannot be decoded" in deep[-1][1]


def test_faults_of_values_and_of_all_kinds_of_files(tmp_path):
    Image.new("RGB", (4, 4)).save(tmp_path / "good.png")
    frames = [Image.new("L", (4, 4), level) for level in (0, 255)]
    frames[0].save(tmp_path / "moves.gif", save_all=True, append_images=frames[1:])
    np.save(tmp_path / "kernel.npy", -np.ones((3, 3)))
    np.save(tmp_path / "mask.npy", np.ones(3))
    np.savez(tmp_path / "two.npz", a=np.ones((3, 3)), b=np.ones((3, 3)))
    (tmp_path / "m.csv").write_text(
        "id,image,noise_level,seed,kernel,mask\n"
        "a,good.png,loud,1,,\n"
        "b,good.png,0.1,x,kernel.npy,mask.npy\n"
        "c,moves.gif,much,,,\n"
        "d,good.png,,,two.npz,\n"
    )
    found = list(check(str(tmp_path / "m.csv"), file_fault=file_fault))
    assert [(f.row, f.id) for f in found] == [(n, "abcd"[n - 1]) for n in (1, 3, 2, 2, 2, 3, 4)]
    words = ["noise_level is 'loud'", "noise_level is 'much'", "seed is 'x'", "mask: ", "kernel: "]
    for finding, word in zip(found, [*words, "image: ", "kernel: "], strict=True):
        assert finding.message.startswith(word)
    assert "a, b" in found[6].message  # of which a row cannot name one
    assert "negative" in found[4].message and "frames" in found[5].message


def test_faults_of_columns(tmp_path):
    Image.new("RGB", (4, 4)).save(tmp_path / "good.png")
    for column, value, words in [("status", 1, "'status' has the name"), ("e", {}, "'e' holds")]:
        row = {"id": "a", "image": "good.png", column: value}
        (tmp_path / "m.jsonl").write_text(json.dumps(row))
        (found,) = check(str(tmp_path / "m.jsonl"), reserved={"status"})
        assert found.row == 0 and words in found.message


def test_an_id_that_is_no_text_is_one_fault(tmp_path):
    Image.new("RGB", (4, 4)).save(tmp_path / "good.png")
    table = {"id": [b"\xff", b"", b"c"], "image": ["good.png"] * 3}
    pq.write_table(pa.table(table), tmp_path / "m.parquet")
    found = [(f.row, f.message) for f in check(str(tmp_path / "m.parquet"))]
    assert found == [(1, r"id is b'\xff', expected text"), (2, "id: the row has none")]


def test_a_kernel_that_is_written_out_is_no_file(tmp_path):
    Image.new("RGB", (4, 4)).save(tmp_path / "good.png")
    (tmp_path / "m.csv").write_text(
        "id,image,kernel\n"
        "a,good.png,{gaussian: {std: 3}}\n"
        'b,good.png,"{""disk"": {""radius"": 0}}"\n'
        "c,good.png,gone.npy\n"
        "d,good.png,\n"
    )
    found = check(
        str(tmp_path / "m.csv"),
        text_faults={"kernel": lambda text: "bad" if "radius" in text else None},
    )
    assert [(f.row, f.message[:16]) for f in found] == [(2, "kernel: bad"), (3, "kernel: no such ")]
