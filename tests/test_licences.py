"""The page of licences is that of what is asked for, and says what the packages say."""

from __future__ import annotations

import re
from importlib.metadata import PackageNotFoundError, version

import pytest

from tools.licences import PAGE, direct, row

LISTED = dict(re.findall(r"^\| ([\w.-]+) \| (.+ \| .+) \|$", PAGE.read_text(), re.M)[1:])


def test_every_direct_dependency_is_listed_and_no_other():
    assert set(LISTED) == set(direct())
    assert {"numpy", "torch", "napari", "PyQt6", "allensdk"} <= set(LISTED)


@pytest.mark.parametrize("name", direct())
def test_the_page_says_what_the_package_says(name):
    try:
        version(name)
    except PackageNotFoundError:
        pytest.skip(f"{name} is not installed here")
    assert row(name, direct()[name]) == f"| {name} | {LISTED[name]} |"
    assert "not stated" not in LISTED[name]
