"""Fixtures that several test modules of commands use."""

from __future__ import annotations

import pytest

from tests.pictures import photograph


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    folder = tmp_path_factory.mktemp("photos")
    (folder / "sub").mkdir()
    photograph(40, 32, "coffee").save(folder / "coffee.png")
    photograph(40, 32, "chelsea").save(folder / "sub" / "chelsea.png")
    return folder
