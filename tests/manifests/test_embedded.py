"""Names of pictures in other files."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from manifests import storage
from manifests.embedded import Cell, Member, parse

NUMBERS = st.integers(0, 2**63 - 1)
TEXTS = st.text(st.characters(exclude_categories=["Cs"]), min_size=1)


@given(TEXTS, TEXTS, NUMBERS, NUMBERS, NUMBERS)
def test_what_is_written_is_read(file, name, a, b, c):
    for named in (Cell(file, name, a, b, c), Member(file, name, a, b)):
        assert parse(str(named)) == named


@pytest.mark.parametrize(
    "ref",
    ["a.png", "s3://b/a.png", "tar://x", "parquet://image/1::f", "tar://1/2::f", "parquet://::f"],
)
def test_other_texts_are_none(ref):
    assert parse(ref) is None


@pytest.mark.parametrize(
    "file, resolved, scheme",
    [
        ("x/a.tar", "s3://b/d/x/a.tar", "s3"),
        ("/x/a.tar", "/x/a.tar", "file"),
        ("https://h/a.tar?sig=SECRET", "https://h/a.tar?sig=SECRET", "https"),
    ],
)
def test_they_lie_where_their_file_lies(file, resolved, scheme):
    member = str(Member(file, "0001.png", 512, 10))
    whole = storage.resolve("s3://b/d", member)
    assert parse(whole) == Member(resolved, "0001.png", 512, 10)
    assert storage.scheme_of(whole) == scheme
    assert "SECRET" not in storage.shown(whole)
