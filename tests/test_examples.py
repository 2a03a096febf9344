"""Every public name shows how it is used, and what it shows is so."""

from __future__ import annotations

import doctest
import inspect
import sys

import pytest

import napari_brainvae


@pytest.mark.parametrize("name", napari_brainvae.__all__)
def test_the_example_of(name):
    thing = getattr(napari_brainvae, name)
    module = sys.modules[thing.__module__]
    tests = doctest.DocTestFinder(recurse=False).find(thing, name, module)
    assert any(test.examples for test in tests), f"{name} has no example: {inspect.getfile(thing)}"
    runner = doctest.DocTestRunner(optionflags=doctest.NORMALIZE_WHITESPACE)
    for test in tests:
        assert runner.run(test).failed == 0
