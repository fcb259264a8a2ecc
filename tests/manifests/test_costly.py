"""Manifests and checkpoints that would cost much: each is refused or read, in words, cheaply."""

from __future__ import annotations

import base64
import io
import json
import os
import pickle
import re
import struct
import subprocess
import sys
import zipfile
from collections.abc import Callable

import pyarrow as pa
import pyarrow.parquet as pq
import pyarrow.parquet.encryption as pe
import pytest
import torch

from manifests.errors import ManifestError
from manifests.read import read_manifest
from pipeline.spec.job import JobSpec
from pipeline.tasks.kernels import text_fault
from tests import parquet_bytes as pb
from tests.support import ROOT

MANY = 2**31 - 1
LARGE = "would take .* and .* are allowed; .* set max_manifest_bytes"

# Reads a manifest as a job does, or a checkpoint, with no more memory than is told; prints the
# peak of its own memory in MB, its seconds of CPU, and its outcome.
READER = """
import resource, sys, time
path, room = sys.argv[1], int(sys.argv[2]) << 20
if path.endswith((".pt", ".safetensors")):
    from diffpir.checkpoints.checkpoint import read_checkpoint as read
    from diffpir.errors import CheckpointError as Refused
else:
    from manifests.errors import ManifestError as Refused
    from manifests.manifest import Manifest
    from manifests.read import open_source
    from manifests.scan import scan
    read = lambda path: scan(Manifest(open_source(path)))
peak = lambda: resource.getrusage(resource.RUSAGE_SELF).ru_maxrss >> 10
held = int(open("/proc/self/statm").read().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (held + room, held + room))
before, begin = peak(), time.process_time()
try:
    read(path)
    outcome = "read"
except Refused as e:
    outcome = f"refused: {e}"
print(peak() - before, round(time.process_time() - begin, 1), outcome)
"""


def csv(columns: int) -> bytes:
    names = ["id", "image", *(f"c{i}" for i in range(columns))]
    return f"{','.join(names)}\n{','.join(map(str, range(columns + 2)))}\n".encode()


def row(**own) -> bytes:
    return json.dumps({"id": "a", "image": "x", **own}).encode() + b"\n"


def numbered(count: int) -> dict[str, int]:
    return {f"c{i}": i for i in range(count)}


def rows(count: int) -> bytes:
    return b"".join(b'{"id": "%d", "image": "x"}\n' % i for i in range(count))


def with_own(column: pb.Column, times: int, elements: list | None = None) -> bytes:
    return pb.parquet(
        {"id": pb.same(b"x", times), "image": pb.same(b"x", times), "own": column}, times, elements
    )


def gzip_ids(page_bytes: int, count: int, said: int | None = None) -> bytes:
    """A page of one value, so many times."""
    page = pb.data_page(
        pb.squeezed(pb.plain(b"x" * (page_bytes - 4))), 1, size=page_bytes if said is None else said
    )
    ids = pb.Column(pb.TEXT, pb.GZIP, [page] * count, False, count)
    return pb.parquet({"id": ids, "image": pb.same(b"x", count)}, count)


def dictionary_bomb() -> bytes:
    """A megabyte, a million times."""
    return with_own(pb.same(b"x" * 10**6, 10**6), 10**6)


def dictionary_said(values: int) -> bytes:
    body = pb.plain(b"x")
    pages = [
        pb.dictionary_page(body, values),
        pb.data_page(pb.repeated(0, 9), 9, pb.DICTIONARY),
    ]
    return with_own(pb.Column(pb.TEXT, pb.STORED, pages, True, 9), 9)


def nulls(kind: int, count: int, length: int | None = None) -> bytes:
    levels = pb.varint(count << 1) + b"\0"
    page = pb.data_page(struct.pack("<I", len(levels)) + levels, count)
    elements = [pb.group("schema", 3), pb.leaf("id", pb.TEXT), pb.leaf("image", pb.TEXT)]
    elements.append(pb.leaf("own", kind, optional=True, length=length))
    return with_own(pb.Column(kind, pb.STORED, [page], False, count), count, elements)


def deep_schema(levels: int) -> bytes:
    elements = [pb.group("schema", 3), pb.leaf("id", pb.TEXT), pb.leaf("image", pb.TEXT)]
    elements += [pb.group("own", 1)] * levels + [pb.leaf("n", pb.INT64)]
    own = pb.Column(pb.INT64, pb.STORED, [pb.data_page(bytes(8), 1)], False, 1)
    return with_own(own, 1, elements)


def written(table: pa.Table, **options) -> bytes:
    sink = io.BytesIO()
    pq.write_table(table, sink, write_statistics=False, **options)
    return sink.getvalue()


def delta_bomb() -> bytes:
    """Each value is the one before but for its end, and stored as that."""
    ids = [b"x" * 10**5 + b"%05d" % i for i in range(3)] * 4000
    table = pa.table({"id": pa.array(ids).cast(pa.string()), "image": ["x"] * len(ids)})
    encoding = {"id": "DELTA_BYTE_ARRAY", "image": "PLAIN"}
    options = {"use_dictionary": False, "column_encoding": encoding, "compression": "none"}
    return written(table, **options, data_page_size=1 << 30)


def list_bomb() -> bytes:
    own = pa.array([["y" * 10**6] * 2000])
    return written(pa.table({"id": ["a"], "image": ["x"], "own": own}), compression="zstd")


def wide_parquet(columns: int) -> bytes:
    return written(
        pa.table({"id": ["a"], "image": ["x"], **{f"c{i}": [i] for i in range(columns)}})
    )


LISTED = b'"own": [' + b"{}," * 300_000
MANIFESTS: dict[str, tuple[str, Callable[[], bytes], str]] = {
    # name: suffix, content, outcome
    "csv, 2,000 columns": (".csv", lambda: csv(2000), "read"),
    "csv, 10,000 columns": (".csv", lambda: csv(10_000), "read"),
    "csv, 100,000 columns": (".csv", lambda: csv(100_000), "its 100002 columns " + LARGE),
    "csv, 10 million columns": (".csv", lambda: b"id,image" + b"," * 10**7, LARGE),
    "csv, an open quote": (".csv", lambda: b'id,image\na,"' + b"x" * 10**8, "quote that is not"),
    "csv, one cell": (".csv", lambda: b"id,image\na," + b"x" * 10**8, "cannot be read"),
    "csv, a quoted cell": (
        ".csv",
        lambda: b'id,image\na,"' + b"x" * 10**8 + b'"\n',
        "line 2 begins a row with a value of over",
    ),
    "csv, hexadecimal seed": (
        ".csv",
        lambda: b"id,image,seed\na,x,0x" + b"f" * 10**5,
        r"row 1: seed is '0xf+'\.\.\. \(100002 characters\), expected a whole number$",
    ),
    "csv, decimal seed": (".csv", lambda: b"id,image,seed\na,x," + b"9" * 10**5, "row 1: seed is"),
    "csv, the last of many seeds": (
        ".csv",
        lambda: b"id,image,seed\n" + b"".join(b"%d,x,1\n" % i for i in range(10**6)) + b"z,x,q\n",
        "row 1000001: seed is 'q'",
    ),
    "csv, a million equal ids": (
        ".csv",
        lambda: b"id,image\n" + b"a,x\n" * 10**6,
        "rows 1 and 1000000",
    ),
    "csv, a long name twice": (
        ".csv",
        lambda: b"id,image,%b,%b\na,x,1,1\n" % ((b"n" * 10**5,) * 2),
        r"column 'n+'\.\.\. \(100000 characters\) stands there 2 times",
    ),
    "csv, null bytes": (".csv", lambda: b"id,image\na\0b,x\0\n", "read"),
    "csv, width of 2^63": (".csv", lambda: b"id,image,width\na,x,%d\n" % 2**63, "row 1: width"),
    "jsonl, 10,000 columns": (".jsonl", lambda: row(**numbered(10_000)), "read"),
    "jsonl, 100,000 columns": (".jsonl", lambda: row(**numbered(10**5)), LARGE),
    "jsonl, columns of one row": (
        ".jsonl",
        lambda: row(**numbered(5000)) + rows(100_000),
        r"its \d+ columns \(fields of objects included\) " + LARGE,
    ),
    "jsonl, a column for each row": (
        ".jsonl",
        lambda: b"".join(row(**{f"k{i}": 1}) for i in range(15_000)),
        LARGE,
    ),
    "jsonl, fields of one object": (
        ".jsonl",
        lambda: row(own=numbered(15_000)) + rows(20_000),
        LARGE,
    ),
    "jsonl, fields of one item": (
        ".jsonl",
        lambda: b'{"id": "a", "image": "x", %b%b]}' % (LISTED, json.dumps(numbered(9000)).encode()),
        LARGE,
    ),
    "jsonl, items that are null": (
        ".jsonl",
        lambda: row(own=[None] * 3_000_000) + row(own=[numbered(1000)]),
        LARGE,
    ),
    "jsonl, lists in one another": (
        ".jsonl",
        lambda: row(own=json.loads("[" * 99 + "]" * 99)),
        "column 'own' has over 60 values in one another",
    ),
    "jsonl, objects in one another": (
        ".jsonl",
        lambda: row(own=json.loads('{"a":' * 70 + "1" + "}" * 70)),
        "column 'own' has over 60 values in one another",
    ),
    "jsonl, quotes in an open text": (
        ".jsonl",
        lambda: b'{"id": "a", "own": "' + b'\\"[' * 300_000,
        "line 1 is not a JSON object",
    ),
    "jsonl, one line": (".jsonl", lambda: b'{"id": "' + b"x" * 10**8, "line 1 has 100000008 bytes"),
    "jsonl, a million digits": (
        ".jsonl",
        lambda: b'{"id": "a", "image": "x", "own": %b}' % (b"9" * 10**6),
        "read",
    ),
    "jsonl, hexadecimal seed": (".jsonl", lambda: row(seed="0x" + "f" * 10**5), "seed is '0xf+'"),
    "jsonl, digits of a kernel": (
        ".jsonl",
        lambda: b'{"id": "a", "image": "x", "kernel": {"levin": %b}}' % (b"9" * 10**5),
        "line 1 has a number of 100000 digits",
    ),
    "parquet, pages of 8 GB": (".parquet", lambda: gzip_ids(10**8, 80), "its rows " + LARGE),
    "parquet, a page of 2 GB": (
        ".parquet",
        lambda: gzip_ids(10**8, 1, said=MANY),
        "a page of column 'id' " + LARGE,
    ),
    "parquet, a page larger than it says": (
        ".parquet",
        lambda: gzip_ids(10**8, 1, said=100),
        "cannot be read",
    ),
    "parquet, a long value of a dictionary": (".parquet", dictionary_bomb, "its rows " + LARGE),
    "parquet, a dictionary that says more": (
        ".parquet",
        lambda: dictionary_said(MANY),
        "a dictionary " + LARGE,
    ),
    "parquet, rows without bytes": (
        ".parquet",
        lambda: pb.parquet({"id": pb.same(b"x", MANY), "image": pb.same(b"x", MANY)}, MANY),
        LARGE,
    ),
    "parquet, nulls": (".parquet", lambda: nulls(pb.INT64, MANY), LARGE),
    "parquet, wide nulls": (".parquet", lambda: nulls(pb.FIXED, 1000, 2**30), LARGE),
    "parquet, shared beginnings": (".parquet", delta_bomb, LARGE),
    "parquet, a list of long values": (".parquet", list_bomb, "longest value of column 'own'"),
    "parquet, 5,000 columns": (".parquet", lambda: wide_parquet(5000), "read"),
    "parquet, 20,000 columns": (".parquet", lambda: wide_parquet(20_000), LARGE),
    "parquet, groups in one another": (
        ".parquet",
        lambda: deep_schema(100_000),
        "column 'own' has over 300 values in one another",
    ),
}


def archive(content: bytes, compression: int = zipfile.ZIP_DEFLATED) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", compression) as members:
        members.writestr("archive/data.pkl", content)
        members.writestr("archive/version", b"3\n")
    return out.getvalue()


def saved(state: object, **options) -> bytes:
    out = io.BytesIO()
    torch.save(state, out, **options)
    return out.getvalue()


class Asks:
    """A value that a pickle asks for."""

    def __init__(self, *call):
        self.call = call

    def __reduce__(self):
        return self.call[0], self.call[1:]


def safetensors(metadata: str) -> bytes:
    head = json.dumps({"__metadata__": {"diffpir.unet": metadata}}).encode()
    return struct.pack("<Q", len(head)) + head


LARGE_ARRAY = pickle.dumps({"a": Asks(bytearray, 4 << 30)}, protocol=2)
NUMBER = torch.zeros(1)
CHECKPOINTS: dict[str, tuple[str, Callable[[], bytes], str]] = {
    "pt, a compressed list of tensors": (
        ".pt",
        lambda: archive(pickle.dumps("x" * 10**9, protocol=2)),
        r"data.pkl' is compressed, and all would take \d+ bytes; the file has",
    ),
    "pt, a large value of Python's": (
        ".pt",
        lambda: archive(LARGE_ARRAY, zipfile.ZIP_STORED),
        "it asks for bytearray",
    ),
    "pt of the old format, a large value of Python's": (
        ".pt",
        lambda: (
            b"".join(pickle.dumps(v, protocol=2) for v in (0x1950A86A20F9469CFC6C, 1001, {}))
            + LARGE_ARRAY
        ),
        "it asks for bytearray",
    ),
    "pt, one number for billions": (
        ".pt",
        lambda: saved({"time_embed.0.weight": NUMBER.expand(2**31, 2)}),
        r"shape \(2147483648, 2\)\) would take 17179869184 bytes, and the file has",
    ),
    "pt of the old format, one number for billions": (
        ".pt",
        lambda: saved({"a": NUMBER.expand(2**33)}, _use_new_zipfile_serialization=False),
        "would take 34359738368 bytes",
    ),
    "pt, a sparse tensor": (
        ".pt",
        lambda: saved(
            {"a": torch.sparse_coo_tensor([[0]], [1.0], (2**40,), check_invariants=False)}
        ),
        "not a plain array of numbers",
    ),
    "pt, a tensor without numbers": (
        ".pt",
        lambda: saved({"a": torch.zeros(2**40, device="meta")}),
        "not a plain array of numbers",
    ),
    "safetensors, lists in one another": (
        ".safetensors",
        lambda: safetensors("[" * 10**6),
        "it holds no tensors",
    ),
    "safetensors, digits": (
        ".safetensors",
        lambda: safetensors("9" * 10**5),
        "it holds no tensors",
    ),
    "safetensors, a header of 2^60 bytes": (
        ".safetensors",
        lambda: struct.pack("<Q", 2**60),
        "not a safetensors file",
    ),
}
CASES = MANIFESTS | CHECKPOINTS
SECONDS = 20  # of the slowest, on a machine that has other work; most take less than one
ROOM_MB = 3000  # three times the 1 GiB that any manifest may take; most take less than 100


@pytest.mark.parametrize("name", CASES)
def test_costs_little_and_is_told_in_words(tmp_path, name):
    suffix, content, outcome = CASES[name]
    path = tmp_path / f"m{suffix}"
    path.write_bytes(content())
    found = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", READER, str(path), str(ROOM_MB)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=300,
        env=os.environ | {"ARROW_DEFAULT_MEMORY_POOL": "system", "MALLOC_ARENA_MAX": "2"},
    )
    assert found.returncode == 0, found.stderr[-2000:]
    peak, seconds, told = found.stdout.split(" ", 2)
    assert float(seconds) < SECONDS
    assert int(peak) < ROOM_MB
    assert told.startswith("read" if outcome == "read" else f"refused: {path}: ") or (
        "over 60 values" in told
    )
    assert len(told) < 1500
    if outcome != "read":
        assert re.search(outcome, told)


MERGED = "{a: &a {x: 1, y: 1}, b: &b {<<: [*a, *a, *a, *a]}, c: {<<: [*b, *b, *b, *b]}}"


@pytest.mark.parametrize(
    "text",
    [
        MERGED,
        "{gaussian: &a {std: 3}}",
        "{gaussian: {<<: {std: 3}}}",
        "{a: &a [1, 1], b: [*a, *a]}",
        "{levin: 0x" + "f" * 900 + "}",
        "{a: " * 200 + "}" * 200,
        "{? {a: 1} : 2}",
        "{disk: {radius: " + "9:" * 300 + "9}}",
    ],
)
def test_a_kernel_of_a_row_stands_for_no_more_than_it_says(text):
    assert text_fault(text)


def test_kernels_are_told_as_before():
    for text in ("{gaussian: {std: 3}}", '{"disk": {"radius": 2}}', "{levin: 3}"):
        assert text_fault(text) is None
    assert "kernel such as {gaussian" in text_fault(MERGED)


@pytest.mark.parametrize("suffix", [".csv", ".jsonl", ".parquet"])
def test_the_limit_is_the_users_to_set(tmp_path, suffix):
    content = {".csv": csv(100), ".jsonl": row(**numbered(100)), ".parquet": wide_parquet(100)}
    path = tmp_path / f"m{suffix}"
    path.write_bytes(content[suffix])
    with pytest.raises(ManifestError, match=f"m{suffix}: its 102 columns .* 5000000 are allowed"):
        read_manifest(str(path), max_bytes=5_000_000)
    assert read_manifest(str(path), max_bytes=10_000_000).num_columns == 102
    with pytest.raises(ManifestError, match=r"100 (are )?allowed; .* max_manifest_bytes"):
        read_manifest(str(path), max_bytes=100)
    spec = {"manifest": str(path), "output": "out", "task": {"kind": "sr", "factor": 4}}
    assert JobSpec(**spec, max_manifest_bytes=7).max_manifest_bytes == 7


def test_large_values_among_small_ones_are_read(tmp_path):
    """By its longest value alone, the dictionary would be too large for as many rows."""
    own = ["y" * 200_000] + ["z"] * 9999
    ids = [str(i) for i in range(10_000)]
    table = pa.table({"id": ids, "image": ids, "own": own, "n": range(10_000)})
    path = tmp_path / "m.parquet"
    for options in ({}, {"compression": "zstd"}, {"data_page_version": "2.0"}):
        pq.write_table(table, path, row_group_size=3000, **options)
        assert read_manifest(str(path)).equals(table)


def test_parts_share_one_limit(tmp_path):
    for part in range(4):
        ids = [f"{part}-{i}" for i in range(1000)]
        own = ["y" * 1000] * 1000
        pq.write_table(
            pa.table({"id": ids, "image": ids, "own": own}), tmp_path / f"{part}.parquet"
        )
    assert len(read_manifest(str(tmp_path), max_bytes=5_000_000)) == 4000
    with pytest.raises(ManifestError, match="max_manifest_bytes"):
        read_manifest(str(tmp_path), max_bytes=2_500_000)


def test_parts_with_columns_of_their_own(tmp_path):
    for part in range(100):
        own = {f"c{part}-{i}": [1] for i in range(200)}
        table = pa.table({"id": [str(part)], "image": ["x"], **own})
        pq.write_table(table, tmp_path / f"{part}.parquet")
    with pytest.raises(ManifestError, match="its 20002 columns would take"):
        read_manifest(str(tmp_path))


class Keys(pe.KmsClient):
    """Keeps keys as they are: what is tested is the reader without one."""

    def __init__(self, config):
        super().__init__()

    def wrap_key(self, key, name):
        return base64.b64encode(key)

    def unwrap_key(self, key, name):
        return base64.b64decode(key)


@pytest.mark.parametrize("plain_footer", [True, False])
@pytest.mark.parametrize("columns", [["id", "image"], ["image"]])
def test_an_encrypted_manifest_is_told_in_words(tmp_path, plain_footer, columns):
    """Of encrypted columns, Arrow would abort the process."""
    how = pe.EncryptionConfiguration("f", column_keys={"c": columns}, plaintext_footer=plain_footer)
    keys = pe.CryptoFactory(Keys).file_encryption_properties(pe.KmsConnectionConfig(), how)
    table = pa.table({"id": ["a"], "image": ["a.png"]})
    path = tmp_path / "m.parquet"
    with pq.ParquetWriter(path, table.schema, encryption_properties=keys) as writer:
        writer.write_table(table)
    ended = subprocess.run(
        [sys.executable, "-m", "jobs", "manifest", "check", path],
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    assert ended.returncode == 2 and "it is encrypted; write the" in ended.stderr
