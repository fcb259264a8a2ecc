"""WebDataset tar files as manifests: what the library writes is read, by its headers alone."""

from __future__ import annotations

import gzip
import io
import json
import random
import shutil
import subprocess
import tarfile
import time
import tracemalloc

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import webdataset
from hypothesis import given, settings
from hypothesis import strategies as st
from webdataset.tariterators import group_by_keys, tar_file_expander

from manifests import storage
from manifests.embedded import Member, parse
from manifests.errors import ManifestError, StorageError
from manifests.limits import Limit
from manifests.read import read_manifest
from manifests.read_member import read_member
from manifests.schema import normalise
from manifests.sources.tar_rows import read_tar
from manifests.storage import FetchPolicy

FORMATS = {"ustar": tarfile.USTAR_FORMAT, "gnu": tarfile.GNU_FORMAT, "pax": tarfile.PAX_FORMAT}
GIB = 1 << 30


def packed(
    members: dict[str, bytes] | list[tuple[str, bytes]], format: int = tarfile.PAX_FORMAT, **options
) -> bytes:
    sink = io.BytesIO()
    with tarfile.open(fileobj=sink, mode="w", format=format, **options) as tar:
        for name, data in members.items() if isinstance(members, dict) else members:
            info = tarfile.TarInfo(name)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
    return sink.getvalue()


def read(path, content: bytes | None = None, limit: int = GIB, **options) -> pa.Table:
    if content is not None:
        path.write_bytes(content)
    return read_tar(str(path), "NAME", path.name, Limit("NAME", limit), **options)


def refused(path, content: bytes, words: str, limit: int = GIB) -> None:
    with pytest.raises(ManifestError, match=words):
        read(path, content, limit)


def bytes_of(folder: str, reference: str) -> bytes:
    member = parse(storage.resolve(folder, reference))
    assert isinstance(member, Member)
    return read_member(member)


def with_checksum(header: bytes) -> bytes:
    total = sum(header[:148]) + sum(header[156:512]) + 8 * 32
    return header[:148] + b"%06o\0 " % total + header[156:]


def header(name: str, size: int, kind: bytes = tarfile.REGTYPE) -> bytes:
    """A header that may say anything of the size."""
    info = tarfile.TarInfo(name)
    info.type = kind
    block = bytearray(info.tobuf(tarfile.GNU_FORMAT)[-512:])
    block[124:136] = tarfile.itn(size, 12, tarfile.GNU_FORMAT)
    return with_checksum(bytes(block))


def padded(data: bytes) -> bytes:
    return data + bytes(-len(data) % 512)


@pytest.fixture
def path(tmp_path):
    return tmp_path / "train-000.tar"


def test_what_webdataset_writes(path):
    with webdataset.TarWriter(str(path)) as sink:
        for i in range(5):
            sink.write(
                {
                    "__key__": f"dogs/{i:04}",
                    "jpg": b"picture %d" % i,
                    "ref.png": b"true %d" % i,
                    "mask.png": b"mask",
                    "json": {"noise_level": i / 8, "seed": i, "tags": ["a"], "id": f"dog {i}"},
                    "txt": "un été",
                    "cls": i,
                    "pyd": {"other": 1},
                }
            )
    table = read(path)
    row = table.to_pylist()[3]
    for column in ("image", "reference", "mask"):
        row[column] = bytes_of(str(path.parent), row[column])
    assert row == {
        "id": "train-000/dogs/0003",
        "image": b"picture 3",
        "reference": b"true 3",
        "mask": b"mask",
        "json_id": "dog 3",
        "noise_level": 0.375,
        "seed": 3,
        "tags": '["a"]',
        "txt": "un été",
        "cls": 3,
    }
    assert table["id"].to_pylist() == [f"train-000/dogs/{i:04}" for i in range(5)]
    normalise(table, "NAME")


def test_arrays_are_the_images_of_a_tar_file_without_pictures(tmp_path):
    members = [("a.npy", b"array"), ("a.ref.npy", b"true"), ("a.cls", b"2"), ("b.npy", b"other")]

    def written(name: str, members) -> pa.Table:
        with tarfile.open(tmp_path / name, "w") as tar:
            for member, data in members:
                info = tarfile.TarInfo(member)
                info.size = len(data)
                tar.addfile(info, io.BytesIO(data))
        return read(tmp_path / name)

    rows = written("arrays.tar", members).to_pylist()
    assert [row["id"] for row in rows] == ["arrays/a", "arrays/b"]
    assert bytes_of(str(tmp_path), rows[0]["image"]) == b"array"
    assert bytes_of(str(tmp_path), rows[0]["reference"]) == b"true" and rows[0]["cls"] == 2
    # Beside pictures an array is something else, an embedding say.
    (row,) = written("pictures.tar", [("a.npy", b"array"), ("a.png", b"picture")]).to_pylist()
    assert bytes_of(str(tmp_path), row["image"]) == b"picture"


KEYS = st.text(st.characters(exclude_categories=["Cs", "Cc"], exclude_characters="./"), min_size=1)
SAMPLES = st.dictionaries(
    st.lists(KEYS, min_size=1, max_size=3).map("/".join),
    st.dictionaries(
        st.sampled_from(["png", "jpg", "ref.webp", "mask.npy", "txt", "bin"]),
        st.binary(max_size=2000),
        min_size=1,
    ).filter(lambda sample: not {"png", "jpg"} <= sample.keys()),
    min_size=1,
    max_size=8,
)


@pytest.mark.parametrize("format", ["gnu", "pax"])
@given(samples=SAMPLES)
@settings(max_examples=60, deadline=None)
def test_rows_are_those_that_webdataset_reads(tmp_path_factory, format, samples):
    path = tmp_path_factory.getbasetemp() / f"own-{format}.tar"
    samples = {k: {**s, **({"txt": b"text"} if "txt" in s else {})} for k, s in samples.items()}
    members = {f"{k}.{extension}": d for k, s in samples.items() for extension, d in s.items()}
    path.write_bytes(packed(members, FORMATS[format], encoding="utf-8"))
    left_out: list[str] = []
    try:
        rows = read(path, on_left_out=left_out.extend).to_pylist()
    except ManifestError as e:
        assert "has an image" in str(e)
        rows = []
    rows = {row["id"].removeprefix(f"own-{format}/"): row for row in rows if row["image"]}
    with open(path, "rb") as file:  # the library's own opener leaves files open
        seen = [*group_by_keys(tar_file_expander([{"url": str(path), "stream": file}]))]
    theirs = {s["__key__"]: s for s in seen if {"png", "jpg"} & s.keys()}
    assert list(rows) == list(theirs)
    for key, sample in theirs.items():
        row = rows[key]
        assert bytes_of(str(path.parent), row["image"]) == sample.get("png", sample.get("jpg"))
        for column, extension in [("reference", "ref.webp"), ("mask", "mask.npy")]:
            reference = row.get(column)
            data = bytes_of(str(path.parent), reference) if reference else None
            assert data == sample.get(extension)
        assert row.get("txt") == (sample["txt"].decode() if "txt" in sample else None)
    assert not set(left_out) & set(theirs)


@pytest.mark.parametrize("format", FORMATS)
def test_long_and_foreign_names_of_each_format(path, format):
    names = [
        "a.png",
        "f" * 60 + "/" + "n" * 90 + ".png",
        "./b/c.png",
        "x" * 96 + ".png",
        "été/é.png",
    ]
    if format != "ustar":
        names += ["d" * 150 + "/" + "n" * 150 + ".png", "日" * 80 + ".png"]
    members = {name: name.encode() * 9 for name in names}
    table = read(path, packed(members, FORMATS[format], encoding="utf-8"))
    assert [bytes_of(str(path.parent), image) for image in table["image"].to_pylist()] == [
        *members.values()
    ]
    keys = [name.removeprefix("./").removesuffix(".png") for name in names]
    assert table["id"].to_pylist() == [f"train-000/{key}" for key in keys]
    with tarfile.open(path) as tar:
        places = [(m.name, m.offset_data, m.size) for m in tar]
    found = map(parse, table["image"].to_pylist())
    assert [(m.name, m.offset, m.size) for m in found] == places


@pytest.mark.skipif(not shutil.which("tar"), reason="no tar program")
@pytest.mark.parametrize("format", ["gnu", "pax", "ustar", "v7"])
def test_what_the_program_tar_writes(tmp_path, path, format):
    names = ["a.png", "été/é.png", "d" * 80 + "/b.png"]
    if format in ("gnu", "pax"):
        names += ["日" * 80 + ".png", "d" * 150 + "/" + "n" * 150 + ".png"]
    for name in names:
        storage.write_bytes(str(tmp_path / "from" / name), name.encode())
    subprocess.run(["tar", f"--format={format}", "-cf", path, "-C", tmp_path / "from", "."])
    table = read(path)
    keys = (row_id.removeprefix("train-000/") for row_id in table["id"].to_pylist())
    images = (bytes_of(str(tmp_path), image) for image in table["image"].to_pylist())
    found = dict(zip(keys, images, strict=True))
    assert found == {name.removesuffix(".png"): name.encode() for name in names}


def test_other_members_are_no_rows(path):
    sink = io.BytesIO()
    with tarfile.open(fileobj=sink, mode="w", pax_headers={"comment": "global"}) as tar:

        def add(name: str, kind: bytes = tarfile.REGTYPE, link: str = "") -> None:
            info = tarfile.TarInfo(name)
            info.type, info.linkname, info.size = kind, link, 3 * (kind == tarfile.REGTYPE)
            tar.addfile(info, io.BytesIO(b"abc") if info.size else None)

        add("d", tarfile.DIRTYPE)
        for name in ["._a.png", "d/._a.png", ".d/a.png", "__MACOSX/a.png", "__x__/a.png", "none"]:
            add(name)
        for name in ["d.e/b.png", "d.e/b.JSON.bak", "c.tar.xz", "v.PNG"]:
            add(name)
        add("link.png", tarfile.SYMTYPE, "v.PNG")
        add("hard.png", tarfile.LNKTYPE, "l" * 200)
        add("pipe.png", tarfile.FIFOTYPE)
    left_out: list[str] = []
    table = read(path, sink.getvalue(), on_left_out=left_out.extend)
    assert table["id"].to_pylist() == ["train-000/d.e/b", "train-000/v"]
    assert left_out == ["c"]


def test_members_of_a_key_need_not_be_neighbours(path):
    content = packed({"b.png": b"1", "a.png": b"2", "b.txt": b"x", "a.ref.png": b"3"})
    rows = read(path, content).to_pylist()
    assert [(row["id"], row["txt"]) for row in rows] == [
        ("train-000/b", "x"),
        ("train-000/a", None),
    ]
    assert bytes_of(str(path.parent), rows[1]["reference"]) == b"3"


def test_a_key_with_other_pictures_alone_has_no_image(path):
    table = read(path, packed({"a.png": b"", "b.left.png": b"", "c.ref.png": b"", "d.txt": b""}))
    assert [bool(image) for image in table["image"].to_pylist()] == [True, False, False]


@pytest.mark.parametrize(
    "values, kind, read_as",
    [
        ([1, 2], "int64", None),
        ([1, 2.5], "double", None),
        ([True, None], "bool", None),
        ([None, None], "null", None),
        ([1, "a"], "string", ["1", "a"]),
        ([True, 2], "string", ["true", "2"]),
        ([2**63, 1], "string", [str(2**63), "1"]),
        ([2**53 + 1, 0.5], "string", [str(2**53 + 1), "0.5"]),
        ([[1, {"é": None}], 1], "string", ['[1, {"é": null}]', "1"]),
        (["", "007"], "string", None),
    ],
)
def test_columns_of_json_are_plain(path, values, kind, read_as):
    members = {}
    for i, value in enumerate(values):
        members |= {f"{i}.png": b"", f"{i}.json": json.dumps({"own": value}).encode()}
    column = read(path, packed(members))["own"]
    assert str(column.type) == kind
    assert column.to_pylist() == (read_as or values)


def test_members_win_over_fields_of_json(path):
    fields = {"image": "x", "reference": "x", "mask": "x", "bytes": 1, "etag": "x", "txt": "no"}
    fields |= {"kernel": {"gaussian": {"std": 3}}, "cls": 9, "width": 5}
    data = json.dumps(fields).encode()
    members = [("a.txt", b"yes"), ("a.json", data), ("a.png", b""), ("a.kernel.npy", b"k")]
    members += [("a.cls", b"7\n"), ("b.png", b""), ("b.json", data), ("c.png", b"")]
    rows = read(path, packed(members)).to_pylist()
    assert rows[0].keys() == {"id", "image", "kernel", "txt", "cls", "width"}
    assert (rows[0]["txt"], rows[0]["cls"], rows[0]["width"]) == ("yes", 7, 5)
    assert bytes_of(str(path.parent), rows[0]["kernel"]) == b"k"
    assert json.loads(rows[1]["kernel"]) == fields["kernel"]
    assert (rows[1]["txt"], rows[1]["cls"]) == ("no", 9)
    assert set(rows[2].values()) == {rows[2]["id"], rows[2]["image"], None}


def test_tables_of_several_tars_fit_together(tmp_path):
    tables = []
    for i, members in enumerate(
        [
            {"a.png": b"", "a.json": b'{"own": 1, "none": null}', "a.cls": b"1"},
            {"a.png": b"", "a.json": b'{"own": 0.5, "none": "x"}', "a.cls": b"2"},
            {"a.png": b"", "a.ref.png": b""},
        ]
    ):
        tables.append(read(tmp_path / f"{i}.tar", packed(members)))
    table = pa.concat_tables(tables, promote_options="permissive")
    assert table["own"].to_pylist() == [1.0, 0.5, None]
    assert table["none"].to_pylist() == [None, "x", None]
    assert table["id"].to_pylist() == ["0/a", "1/a", "2/a"]
    uri = str(tmp_path / "m.parquet")
    pq.write_table(table, uri)
    assert read_manifest(uri)["cls"].to_pylist() == [1, 2, None]


def test_json_that_is_no_object_is_text(path):
    assert read(path, packed({"a.png": b"", "a.json": b" [1] "}))["json"].to_pylist() == ["[1]"]


def test_secrets_are_in_no_id_and_signatures_in_the_reference_alone(path):
    path.write_bytes(packed({"a.png": b"x"}))
    whole = "https://h/d/train.tar?sig=SECRET"
    row = read_tar(str(path), "NAME", whole, Limit("NAME", GIB)).to_pylist()[0]
    assert row["id"] == "h/d/train/a"
    assert parse(row["image"]).file == whole


@pytest.mark.parametrize(
    "members, words",
    [
        ({}, "none of its 0 keys has an image"),
        ({"a.x.png": b"", "a.b": b""}, r"none of its 1 keys .* extensions .x.png, .b$"),
        ([("a.png", b""), ("a.png", b"")], "key 'a' has two members for 'image', 'a.png' and"),
        ([("a.png", b""), ("a.JPG", b"")], "key 'a' has two members for 'image'"),
        ([("a.png", b""), ("./a.png", b"")], "key 'a' has two members for 'image'"),
        ([("a.json", b"{}"), ("a.json", b"{}")], "key 'a' has two members for 'json'"),
        ({"a.png": b"", "a.json": b"{"}, "member 'a.json' is not JSON"),
        ({"a.png": b"", "a.json": b'{"x": 1, "x": 2}'}, "member 'a.json' has the field 'x' twice"),
        ({"a.png": b"", "a.json": b'{"x": "\\ud800"}'}, "'a.json' holds half of a character"),
        ({"a.png": b"", "a.json": b'{"x": ' + b"1" * 5000 + b"}"}, "a number of 5000 digits"),
        ({"a.png": b"", "a.json": b"[" * 60000}, "'a.json' has too many values in one another"),
        ({"a.png": b"", "a.json": b" " * 65537}, "65537 bytes; a .json member may have 65536"),
        ({"a.png": b"", "a.txt": b"\xff"}, "member 'a.txt' is not UTF-8 text"),
        ({"\udcff.png": b""}, "a name that is not UTF-8 text"),
    ],
)
def test_members_that_cannot_be_understood(path, members, words):
    for format in (tarfile.GNU_FORMAT, tarfile.USTAR_FORMAT):
        refused(path, packed(members, format, encoding="utf-8"), words)


ONE = packed({"a.png": b"abc"})
PAX = tarfile.XHDTYPE


@pytest.mark.parametrize(
    "content, words",
    [
        (b"", "none of its 0 keys"),
        (b"x" * 100, "cut short, or no tar file"),
        (b"x" * 5000, "not a tar file"),
        (gzip.compress(ONE, mtime=0), "compressed with gzip.* unpack the file to a .tar"),
        (b"BZh9" + bytes(600), "compressed with bzip2"),
        (b"\xfd7zXZ\0" + bytes(600), "compressed with xz"),
        (b"\x28\xb5\x2f\xfd" + bytes(600), "compressed with zstd"),
        (ONE[:514], "member 'a.png' would end at byte 515, and the file has 514"),
        (ONE[:1024] + b"x" * 512, "damaged: the header at byte 1024"),
        (ONE[:1024] + b"x" * 100, "cut short"),
        (header("a.png", -1) + bytes(9999), "'a.png' has a size of -1 bytes"),
        (header("a.png", 2**87) + bytes(9999), "'a.png' would end at byte 154742504910672"),
        (header("L", GIB, tarfile.GNUTYPE_LONGNAME), "1073741824 bytes; 65536 are allowed"),
        (header("L", -5, tarfile.GNUTYPE_LONGNAME) + bytes(9999), "-5 bytes; 65536 are allowed"),
        (header("p", GIB, PAX), "1073741824 bytes; 65536 are allowed"),
        (header("p", 40, PAX) + bytes(512), "the pax records at byte 0 are none"),
        (header("p", 8, PAX) + padded(b"8 path=x"), "the pax records at byte 0 are none"),
        (header("p", 9, PAX) + padded(b"99 path=x"), "the pax records at byte 0 are none"),
        (header("p", 10, PAX) + padded(b"10 size=x\n"), "a size that is no number"),
        (header("p", 9, PAX) + padded(b"9 path=x\n"), "its last member is missing"),
        (header("p", 20, PAX) + padded(b"20 GNU.sparse.map=0\n") + ONE, "stored sparse"),
        (header("a.png", 0, tarfile.GNUTYPE_SPARSE), "stored sparse"),
    ],
)
def test_files_that_are_no_tar_file_or_damaged(path, content, words):
    refused(path, content, words)


def test_a_compressed_tar_is_refused_by_its_name(tmp_path):
    with pytest.raises(ManifestError, match="compressed with gzip"):
        read(tmp_path / "a.tar.gz")


@pytest.mark.parametrize(
    "content",
    [
        # Each would cost tarfile time that is quadratic in the size.
        pytest.param((header("p", 60000, PAX) + padded(b"2 " * 29999 + b"=\n")) * 50, id="lengths"),
        pytest.param((header("p", 60000, PAX) + padded(b"1" * 60000)) * 50, id="digits"),
        pytest.param(
            (header("g", 60000, tarfile.XGLTYPE) + padded(b"6 a=b\n" * 10000)) * 20, id="records"
        ),
        pytest.param((header("x", 60000, PAX) + padded(b"6 a=b\n" * 10000)) * 20, id="loop"),
        pytest.param(header("d", 0, tarfile.DIRTYPE) * 10_000, id="folders"),
    ],
)
def test_hostile_headers_cost_little(path, content):
    path.write_bytes(content)
    tracemalloc.start()
    begin = time.process_time()
    try:
        with pytest.raises(ManifestError):
            read(path)
        assert tracemalloc.get_traced_memory()[1] < 4 << 20
    finally:
        tracemalloc.stop()
    assert time.process_time() - begin < 5


def test_rows_that_would_take_too_much_memory(path):
    many = packed({f"{i}.png": b"" for i in range(3000)})
    refused(path, many, "would take .* max_manifest_bytes", limit=1 << 20)
    columns = json.dumps({f"c{i}": 1 for i in range(200)}).encode()
    wide = packed({"a.png": b"", "a.json": columns})
    refused(path, wide, "its 200 columns would take .* max_manifest_bytes", limit=1 << 20)
    own = [({f"{i}.png": b"", f"{i}.json": b'{"c%d": 1}' % i}) for i in range(1000)]
    cells = packed({name: data for pair in own for name, data in pair.items()})
    refused(path, cells, "would take .* max_manifest_bytes", limit=6 << 20)


def test_fuzzed_tars_are_read_or_refused(path):
    chance = random.Random(0)
    members = {}
    for i in range(12):
        members |= {f"d/{i}.png": chance.randbytes(700), f"d/{i}.json": b'{"n": %d}' % i}
        members[f"{'n' * 120}/{i}.ref.png"] = b"r" * i
    whole = [packed(members, format) for format in (tarfile.GNU_FORMAT, tarfile.PAX_FORMAT)]
    outcomes = {"read": 0, "refused": 0}
    begin = time.process_time()
    for case in range(300):
        content = bytearray(whole[case % 2])
        if case % 3 == 0:
            del content[chance.randrange(len(content)) :]
        for _ in range(chance.choice([0, 1, 5, 50]) if case % 3 else 0):
            content[chance.randrange(len(content))] ^= 1 << chance.randrange(8)
        if case % 5 == 0:  # headers that are wrong, and have a right checksum
            at = 512 * chance.randrange(len(content) // 512) if len(content) > 512 else 0
            block = bytearray(content[at : at + 512].ljust(512, b"\0"))
            for _ in range(3):
                block[chance.randrange(100, 160)] = chance.randrange(256)
            content[at : at + 512] = with_checksum(bytes(block))
        try:
            table = read(path, bytes(content))
            for column in {"image", "reference"} & set(table.column_names):
                for reference in filter(None, table[column].to_pylist()):
                    assert len(bytes_of(str(path.parent), reference)) <= 700
            outcomes["read"] += 1
        except ManifestError:
            outcomes["refused"] += 1
    assert time.process_time() - begin < 60
    assert min(outcomes.values()) > 20


def test_a_members_bytes_are_those_of_the_manifest_or_it_has_changed(path):
    path.write_bytes(packed({"a.png": b"abc", "b.png": b"def"}))
    reference = read(path)["image"].to_pylist()[1]
    member = parse(storage.resolve(str(path.parent), reference))
    assert read_member(member, limit=3, policy=FetchPolicy(timeout=20)) == b"def"
    with pytest.raises(StorageError, match="3 bytes, more than the 2 allowed") as e:
        read_member(member, limit=2)
    assert e.value.kind == "too_large"
    for content in (
        packed({"a.png": b"abc", "c.png": b"def"}),
        packed({"a.png": b"abc", "b.png": b"defg"}),
        packed({"a.png": b"abc" * 900, "b.png": b"def"}),
        packed({"a.png": b"abc"})[:1024],
        b"",
    ):
        path.write_bytes(content)
        with pytest.raises(StorageError, match=r"tar file has changed .* 'b.png'") as e:
            read_member(member)
        assert e.value.kind == "changed"
    path.unlink()
    with pytest.raises(StorageError) as e:
        read_member(member)
    assert e.value.kind == "not_found"
    with pytest.raises(StorageError, match="changed"):
        read_member(Member(str(path), "a.png", 3, 3))


@pytest.fixture
def fetched(monkeypatch) -> list[int]:
    """The bytes of each request for a part of a file."""
    sizes: list[int] = []
    for name in ("read_range", "read_tail"):
        whole = getattr(storage, name)

        def counted(*args, whole=whole):
            data = whole(*args)
            sizes.append(len(data))
            return data

        monkeypatch.setattr(storage, name, counted)
    return sizes


@pytest.mark.parametrize("count, texts", [(200, False), (60, True)])
def test_an_index_of_a_bucket_fetches_little(s3_prefix, fetched, count, texts):
    data = random.Random(1).randbytes(200_000)
    members = {}
    for i in range(count):
        members[f"{i:05}.jpg"] = data
        if texts:
            members |= {f"{i:05}.json": b'{"n": %d}' % i, f"{i:05}.cls": b"%d" % i}
    content = packed(members)
    uri = storage.join(s3_prefix, "train-000.tar")
    storage.write_bytes(uri, content)
    table = read_tar(uri, "NAME", "train-000.tar", Limit("NAME", GIB))
    assert len(table) == count
    assert sum(fetched) < len(content) / 10
    assert len(fetched) < count + 10
    fetched.clear()
    assert bytes_of(s3_prefix, table["image"].to_pylist()[50]) == data
    assert fetched == [len(data) + 512]
