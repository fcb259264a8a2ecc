"""The files that one text names, and the folder that their names start from."""

from __future__ import annotations

import os

import pytest

from manifests import storage
from manifests.errors import ManifestError
from manifests.expand import expand, relative, root_of

TAR = (".tar",)
FILES = ["d/b.tar", "d/a.TAR", "d/x/c.tar", "d/_h/e.tar", "d/.h/f.tar", "d/_g.tar", "d/note.txt"]


@pytest.fixture(params=["local", "s3"])
def folder(request, tmp_path):
    root = str(tmp_path) if request.param == "local" else request.getfixturevalue("s3_prefix")
    for name in FILES:
        storage.write_bytes(storage.join(root, name), b"x")
    return root


@pytest.mark.parametrize(
    "text, names",
    [
        ("d", ["d/a.TAR", "d/b.tar", "d/x/c.tar"]),
        ("d/", ["d/a.TAR", "d/b.tar", "d/x/c.tar"]),
        ("d/b.tar", ["d/b.tar"]),
        ("d/note.txt", ["d/note.txt"]),
        ("d/*", ["d/_g.tar", "d/a.TAR", "d/b.tar"]),
        ("d/?.tar", ["d/b.tar"]),
        ("d/[ab].*", ["d/a.TAR", "d/b.tar"]),
        ("*/x/*.tar", ["d/x/c.tar"]),
        ("d/{b,missing,b}.tar", ["d/b.tar", "d/missing.tar"]),
        ("d/{x/c,b}.tar", ["d/x/c.tar", "d/b.tar"]),
        ("{d/x,d}/*.tar", ["d/x/c.tar", "d/_g.tar", "d/b.tar"]),
        ("t-{08..11}.tar", [f"t-{i:02}.tar" for i in range(8, 12)]),
        ("t-{000..004..2}.tar", ["t-000.tar", "t-002.tar", "t-004.tar"]),
        ("{" + "a," * 200 + "b}.tar", ["a.tar", "b.tar"]),  # longer than a file's name may be
        ("{a..c}-{1,2}.tar", [f"{a}-{i}.tar" for a in "abc" for i in (1, 2)]),
    ],
)
def test_what_a_text_names(folder, text, names):
    uri = storage.join(folder, text)
    found = expand(uri, TAR)
    assert found == [storage.join(folder, name) for name in names]
    root = root_of(uri)
    assert [storage.resolve(root, relative(root, file)) for file in found] == found
    assert not any(storage.has_scheme(relative(root, file)) for file in found)


@pytest.mark.parametrize(
    "text, root",
    [
        ("d", "."),
        ("d/b.tar", "d"),
        ("d/*.tar", "d"),
        ("d/b*/x/*.tar", "d"),
        ("d/{a,b}.tar", "d"),
        ("{d,e}/a.tar", "."),
        ("d/x-{0..3}/[ab]/c.tar", "d"),
    ],
)
def test_where_names_start(folder, text, root):
    assert root_of(storage.join(folder, text)) == (
        folder if root == "." else storage.join(folder, root)
    )


def test_local_texts_may_be_relative(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in FILES:
        storage.write_bytes(name, b"x")
    assert expand("d/b.tar", TAR) == expand("*/b.tar", TAR) == [str(tmp_path / "d/b.tar")]
    assert expand(f"file://{tmp_path}/d/{{b,c}}.tar", TAR)[0] == str(tmp_path / "d/b.tar")
    assert root_of("d/*.tar") == root_of("d/b.tar") == str(tmp_path / "d")
    assert root_of("*.tar") == root_of("d") == str(tmp_path)


@pytest.mark.parametrize("name", ["a{0..3}.tar", "a[0]*.tar", "{a", "a,{b}"])
def test_what_exists_under_that_name_is_taken_literally(tmp_path, name):
    for folder in (tmp_path, tmp_path / name):
        file = storage.join(str(folder), name if folder == tmp_path else "b.tar")
        if folder != tmp_path:
            os.remove(folder)
        storage.write_bytes(file, b"x")
        uri = str(tmp_path / name)
        assert expand(uri, TAR) == [file]
        assert root_of(uri) == str(tmp_path)
        assert relative(root_of(uri), file) == file[len(str(tmp_path)) + 1 :]


def test_files_of_web_servers():
    one = "https://h/d/a*.tar?sig=x{1,2}/y"
    assert expand(one, TAR) == [one]
    assert root_of(one) == "https://h/d"
    many = expand("https://h/d-{0..1}/a-{000..001}.tar?sig=SECRET", TAR)
    assert many == [f"https://h/d-{i}/a-{j:03}.tar?sig=SECRET" for i in range(2) for j in range(2)]
    root = root_of("https://h/d-{0..1}/a-{000..001}.tar?sig=SECRET")
    assert root == "https://h"
    assert relative(root, "https://h/d-0/a.tar") == "d-0/a.tar"
    assert relative(root, many[0]) == many[0]  # else nobody would know its signature for one


@pytest.mark.parametrize(
    "root, file, name",
    [
        ("/d", "/d/x/a.tar", "x/a.tar"),
        ("/", "/a.tar", "a.tar"),
        ("/d", "/e/a.tar", "/e/a.tar"),
        ("/d", "/d/s3://b/a.tar", "/d/s3://b/a.tar"),
        ("s3://b", "s3://b/x/a.tar", "x/a.tar"),
        ("s3://b", "s3://b/x/../a.tar", "s3://b/x/../a.tar"),
        ("s3:/", "s3://b/a.tar", "s3://b/a.tar"),
        ("s3://b", "s3://b//a.tar", "s3://b//a.tar"),
    ],
)
def test_relative_names(root, file, name):
    assert relative(root, file) == name
    assert storage.resolve(root, name) == file


@pytest.mark.parametrize(
    "text, words",
    [
        ("", "the path is empty"),
        ("none.tar", "no such file: .*/none.tar"),
        ("none", "no such file: .*/none"),
        ("{none,d}", "no such file: .*/none"),
        ("none-*.tar", r"none-\*.tar: no files found there that end in .tar"),
        ("d/x/{a,b}*.tar", "no files found there that end in .tar"),
        ("empty", "empty: no files found there that end in .tar"),
        ("a-{0..3.tar", "is each of them closed"),
        ("a-0..3}.tar", "no such file"),
        ("a-{0..99999999999}.tar", "the braces name more than 100000 files"),
        ("a-{0..999}{0..999}.tar", "the braces name more than 100000 files"),
        ("a-" + "{a,b}" * 60 + ".tar", "the braces name more than 100000 files"),
        ("{" * 2000 + "}" * 2000, "cannot be expanded"),
    ],
)
def test_texts_that_name_nothing(tmp_path, text, words):
    for name in FILES:
        storage.write_bytes(str(tmp_path / name), b"x")
    (tmp_path / "empty").mkdir()
    with pytest.raises(ManifestError, match=words):
        expand(text and f"{tmp_path}/{text}", TAR)


def test_a_name_that_is_no_text(tmp_path):
    with open(os.fsencode(tmp_path) + b"/\xff.tar", "wb"):
        pass
    with pytest.raises(ManifestError, match="not UTF-8 text; rename the file"):
        expand(str(tmp_path), TAR)
