"""Reading manifests: three formats, one content; faults named by file, column, row and value."""

from __future__ import annotations

import json
import time
from datetime import date

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from manifests import storage
from manifests.build import write_manifest
from manifests.digest import content_digest
from manifests.errors import ManifestError
from manifests.read import open_source, read_manifest
from manifests.schema import check_storable, normalise, row_fault
from manifests.unique import duplicate_ids

FORMATS = [".parquet", ".csv", ".jsonl"]
TEXT = st.text(
    st.characters(exclude_categories=["Cs", "Cc"], include_characters="\n"), min_size=1, max_size=8
)
ROWS = st.lists(
    st.fixed_dictionaries(
        {
            "id": TEXT,
            "image": TEXT,
            "noise_level": st.none() | st.floats(0, 1),
            "seed": st.none() | st.integers(0, 2**63 - 1),
        }
    ),
    min_size=1,
    max_size=6,
    unique_by=lambda row: row["id"],
)


def put(folder, name, content) -> str:
    path = folder / name
    path.write_bytes(content)
    return str(path)


@pytest.mark.parametrize("suffix", FORMATS)
@given(rows=ROWS)
@settings(max_examples=25, deadline=None)
def test_what_is_written_is_read(tmp_path_factory, suffix, rows):
    uri = str(tmp_path_factory.getbasetemp() / f"round-trip{suffix}")
    schema = [("id", pa.string()), ("image", pa.string())]
    schema += [("noise_level", pa.float64()), ("seed", pa.int64())]
    table = pa.Table.from_pylist(rows, pa.schema(schema))
    write_manifest(table, uri)
    assert read_manifest(uri).to_pylist() == rows


@pytest.mark.parametrize("suffix", FORMATS)
def test_from_a_bucket(s3_prefix, suffix):
    table = pa.table({"id": ["a", "b"], "image": ["x.png", "y.png"], "tag": [1, 2]})
    uri = storage.join(s3_prefix, f"manifest{suffix}")
    write_manifest(table, uri)
    assert read_manifest(uri).to_pylist() == table.to_pylist()


def test_a_folder_of_parts(tmp_path, s3_prefix):
    for folder in (str(tmp_path / "parts"), s3_prefix):
        for k in range(3):
            table = pa.table({"id": [f"{k}"], "image": ["x"]})
            write_manifest(table, storage.join(folder, f"{k}.parquet"))
        assert read_manifest(folder)["id"].to_pylist() == ["0", "1", "2"]


@pytest.mark.parametrize("text", ["007", "NA", "null", "nan", "2020-01-01", "2020-01-01 10:00:00"])
@pytest.mark.parametrize("suffix", [".csv", ".jsonl"])
def test_ids_are_text_whatever_they_look_like(tmp_path, text, suffix):
    content = {
        ".csv": f"id,image\n{text},x\n",
        ".jsonl": f'{{"id": "{text}", "image": "x"}}\n',
    }[suffix]
    assert read_manifest(put(tmp_path, f"m{suffix}", content.encode()))["id"].to_pylist() == [text]


@pytest.mark.parametrize(
    "texts, values",
    [
        (["007", "12"], None),
        (["+1", "2"], None),
        (["12345678901234567890", "1"], None),
        (["NA", "1.5"], None),
        (["NA", "NA"], None),
        (["12345678901234567", "0.5"], None),
        (["12345678901234567.0", "2"], None),
        (["1.00000000000000000001", "2"], None),
        (["", ""], [None, None]),
        ([".5", "1."], [0.5, 1.0]),
        (["-.25", " 3 "], [-0.25, 3.0]),
        ([" 7", "8 "], [7, 8]),
        (["1.000000000000000000e+00", "0.0500000000000000000"], [1.0, 0.05]),
        (["2024-01-02 10:00", "2024-01-02 11:00"], None),
        (["7", "-12"], [7, -12]),
        (["0.50", "1e-3"], [0.5, 0.001]),
        (["0.1", ""], [0.1, None]),
        (["True", "False"], [True, False]),
        (["2024-01-02", "2024-02-01"], [date(2024, 1, 2), date(2024, 2, 1)]),
    ],
)
def test_a_users_column_of_a_csv_keeps_what_was_written(tmp_path, texts, values):
    lines = [f"{n},x,{text}\n" for n, text in enumerate(texts)]
    table = read_manifest(put(tmp_path, "m.csv", "".join(["id,image,own\n", *lines]).encode()))
    assert table["own"].to_pylist() == (texts if values is None else values)
    assert pa.types.is_null(table["own"].type) == (values == [None, None])


@pytest.mark.parametrize(
    "written, read",
    [
        ("12345678901234567890", "12345678901234567890"),
        ("1e20", 1e20),
        ("1.5", 1.5),
        ('"2024-01-02"', "2024-01-02"),
        ('{"at": ["2024-01-02"]}', {"at": ["2024-01-02"]}),
    ],
)
def test_a_users_value_in_json_lines_keeps_what_was_written(tmp_path, written, read):
    line = f'{{"id": "a", "image": "x", "own": {written}}}\n'
    assert read_manifest(put(tmp_path, "m.jsonl", line.encode()))["own"].to_pylist() == [read]


def test_rows_of_json_lines_may_be_wide_and_somewhat_deep(tmp_path):
    own = ["[" * 200, '"{', [[1, 2]] * 200, json.loads("[" * 90 + "]" * 90)]
    for value in own:
        line = json.dumps({"id": "a", "image": "x", "own": value})
        (batch,) = open_source(put(tmp_path, "m.jsonl", line.encode())).batches()
        assert batch.rows["own"].to_pylist() == [value]


def test_encodings_of_parquet_strings(tmp_path):
    for kind in (pa.large_string(), pa.string_view(), pa.dictionary(pa.int32(), pa.string())):
        table = pa.table({"id": pa.array(["a", "b"], kind), "image": pa.array(["x", "y"], kind)})
        pq.write_table(table, tmp_path / "m.parquet")
        found = read_manifest(str(tmp_path / "m.parquet"))
        assert found.schema.field("id").type == pa.string()
        assert found["image"].to_pylist() == ["x", "y"]


@pytest.mark.parametrize("kind", [pa.list_(pa.string_view()), pa.month_day_nano_interval()])
def test_columns_that_results_cannot_hold(kind):
    with pytest.raises(ManifestError, match=r"'own' holds .*, which results cannot"):
        check_storable(pa.schema([("id", pa.string()), ("own", kind)]), "m")


def test_numbers_become_what_they_mean():
    nan = float("nan")
    table = pa.table({"id": [7, 8], "image": ["x", "y"], "seed": [3.0, nan], "noise_level": [0, 1]})
    found = normalise(table, "m")
    assert found["id"].to_pylist() == ["7", "8"]
    assert found["seed"].to_pylist() == [3, None]
    assert found.schema.field("noise_level").type == pa.float64()
    assert "mask" not in found.column_names


@pytest.mark.parametrize(
    "name, content, message",
    [
        ("m.csv", b"", "m.csv: .*[Ee]mpty"),
        ("m.csv", b"id,image\n", "no rows"),
        ("m.csv", b"id,image\n1,2\n1,2,3\n", "Row #3.*Expected 2 columns, got 3"),
        ("m.csv", b"id,imge\n1,2\n", "no column 'image'; it has id, imge .*'imge'"),
        ("m.csv", b"id,image,image\n1,2,3\n", "'image' stands there 2 times"),
        ("m.csv", b"id,image,status\n1,2,3\n", "'status'.*rename"),
        ("m.csv", b"id,image\na,x\nb,x\na,x\n", "id 'a' stands in rows 1 and 3"),
        ("m.csv", b"id,image\na,x\n,x\n", "row 2 has no id"),
        ("m.csv", b"id,image,noise_level\na,x,0\nb,x,loud\n", "row 2: noise_level is 'loud'"),
        ("m.csv", b"id,image,seed\na,x,1.5\n", "row 1: seed is 1.5, expected a whole number"),
        (
            "m.csv",
            b"id,image,seed\na,x,1.0\nb,x,9007199254740993\n",
            r"row 2: seed is 9007199254740992.0, expected a whole number below 2\^53",
        ),
        ("m.csv", b'id,image,own\na,x,y\nb,x,"open\nc,x,y\n', "line 3 begins a row with a quote"),
        ("m.csv", b'id,image,own\na,x,"open\nb,x,"y"\n', "line 2 begins a row with a quote"),
        ("m.jsonl", b'{"id": 1, "image": "x"}\n{"id": 2,,}\n', "line 2"),
        (
            "m.jsonl",
            b'{"id": 1, "image": "x"}\n\n{"id": "b", "image": "x"}\n',
            "line 3: id is text",
        ),
        ("m.jsonl", b'{"id": "a", "image": "x", "id": "b"}\n', "line 1 has the key 'id' twice"),
        (
            "m.jsonl",
            b'{"id": "a", "image": "x"}\n{"id": "a", "image": "x", "kernel": {}, "id": "b"}\n',
            "line 2 has the key 'id' twice",
        ),
        (
            "m.jsonl",
            b'{"id": "a", "image": "x", "kernel": {"disk": {"radius": 1, "radius": 2}}}\n',
            "line 1 has the key 'radius' twice",
        ),
        (
            "m.jsonl",
            b'{"id": "a", "image": "x", "own": [1, "a"]}\n',
            r"line 1: own\[\] is text, but a number before it",
        ),
        *(
            (
                "m.jsonl",
                b'{"id": "a"}\n{"%b": %b' % (name, opening * n),
                "line 2 has over 100 values",
            )
            for name in (b"own", b"kernel")
            for opening in (b"[", b'{"a": ')
            for n in (101, 3000, 200_000)
        ),
        ("m.jsonl", b'{"id": "a", "image": "x"}\n{"id": null, "image": "x"}\n', "row 2 has no id"),
        (
            "m.jsonl",
            b'{"id": "a", "image": "x", "e": {}}\n',
            "'e' holds struct<>",
        ),
        ("m.csv", "id,image\na,x\nb,Zo\xe9\n".encode("latin-1"), "line 3 is not UTF-8 text"),
        ("m.jsonl", b'{"id": 1.5, "image": "x"}\n', "'id' holds double, expected text"),
        ("m.jsonl", b'{"id": true, "image": "x"}\n', "'id' holds bool, expected text"),
        ("m.parquet", b"not parquet, but long enough", "m.parquet: cannot be read as a table"),
        ("m.xlsx", b"", "ends in one of"),
    ],
)
def test_faults_are_named(tmp_path, name, content, message):
    with pytest.raises(ManifestError, match=message):
        read_manifest(put(tmp_path, name, content), reserved={"status"})


def test_no_such_manifest(tmp_path, s3):
    for folder in (str(tmp_path), s3):
        with pytest.raises(ManifestError, match=r"no such file: .*none\.csv"):
            read_manifest(storage.join(folder, "none.csv"))


def test_damaged_parquet_is_always_a_manifest_error(tmp_path):
    write_manifest(pa.table({"id": ["a"], "image": ["x"]}), str(tmp_path / "m.parquet"))
    good = (tmp_path / "m.parquet").read_bytes()
    for start in range(0, len(good), 24):
        bad = good[:start] + b"\xff" * 12 + good[start + 12 :]
        try:
            read_manifest(put(tmp_path, "bad.parquet", bad))
        except ManifestError:
            continue


@given(st.lists(st.text("ab", min_size=1, max_size=2), max_size=12))
def test_duplicates_agree_with_counting(ids):
    array = pa.chunked_array([ids[:5], ids[5:]], pa.string())
    expected = {
        value: (ids.index(value) + 1, len(ids) - ids[::-1].index(value))
        for value in ids
        if ids.count(value) > 1
    }
    assert {value: (a, b) for value, a, b in duplicate_ids(array)} == expected


def test_a_million_rows_take_seconds():
    ids = pa.array([f"image-{i:07d}" for i in range(10**6)])
    table = pa.table({"id": ids, "image": ids})
    start = time.perf_counter()
    assert not duplicate_ids(table["id"])
    content_digest([table])
    assert time.perf_counter() - start < 10


@given(st.integers(0, 6), st.integers(0, 6))
def test_the_digest_is_of_the_rows_not_of_the_chunks(a, b):
    values = [None, "a", "bc", "", "d", None]
    chunks = [values[: min(a, b)], values[min(a, b) : max(a, b)], values[max(a, b) :]]
    table = pa.table({"id": pa.chunked_array(chunks, pa.string())})
    whole = pa.table({"id": pa.array(values)})
    assert content_digest([table]) == content_digest([whole])
    assert content_digest([table.slice(0, 2), table.slice(2)]) == content_digest([whole])
    other = pa.table({"id": pa.array([*values[:-1], "e"])})
    assert content_digest([table]) != content_digest([other])


ON_255 = "(is it on 0..255? Then divide it by 255)"


@pytest.mark.parametrize(
    "values, fault",
    [
        ({}, None),
        ({"noise_level": 0.1, "seed": 0}, None),
        ({"noise_level": -0.1}, "noise_level: expected from 0 to 1, got -0.1"),
        ({"noise_level": 1.5}, f"noise_level: expected from 0 to 1, got 1.5 {ON_255}"),
        ({"seed": -1}, "seed: expected 0 or more, got -1"),
        ({"image": ""}, "image: the row names none"),
    ],
)
def test_faults_of_a_row(values, fault):
    assert row_fault({"id": "a", "image": "x", **values}) == fault


def test_kernels_as_objects_become_text(tmp_path):
    kernels = [{"gaussian": {"std": 3.5}}, {"motion": {"length": 9, "angle": 0}}, None, "k.npy"]
    rows = [{"id": str(i), "image": "x", "kernel": k, "n": i} for i, k in enumerate(kernels)]
    lines = "\n".join(json.dumps(row) for row in rows)
    expected = [k if k is None or isinstance(k, str) else json.dumps(k) for k in kernels]
    table = read_manifest(put(tmp_path, "m.jsonl", lines.encode()))
    assert table["kernel"].to_pylist() == expected and table["n"].to_pylist() == [0, 1, 2, 3]
    pq.write_table(pa.Table.from_pylist(rows[:3]), tmp_path / "m.parquet")  # structs, with nulls
    assert read_manifest(str(tmp_path / "m.parquet"))["kernel"].to_pylist() == expected[:3]
    with pytest.raises(ManifestError, match="line 2 is not a JSON object"):
        read_manifest(put(tmp_path, "bad.jsonl", lines.split("\n")[0].encode() + b'\n"kernel": {'))
