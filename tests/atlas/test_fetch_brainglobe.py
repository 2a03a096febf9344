"""Fetching is brainglobe-atlasapi's: here one of its kind plays it, which writes what it would."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

from napari_brainvae.atlas.atlas import Atlas
from napari_brainvae.atlas.brainglobe import available_atlases
from napari_brainvae.atlas.fetch_brainglobe import can_fetch, fetch_brainglobe
from napari_brainvae.io.errors import InputError
from tests.atlas.brainglobe_cache import write_version_3
from tests.atlas.test_atlas import STRUCTURES, volume
from tests.atlas.test_brainglobe import home  # noqa: F401 - a fixture
from training.acquire import run
from training.acquisition.options import Acquire, BrainGlobeOptions


@pytest.fixture
def package(home: Path, tmp_path: Path, monkeypatch) -> list[str]:  # noqa: F811
    """Play the package; the list says what it was asked for, and 'break' in it what breaks."""
    asked: list[str] = []
    shop = tmp_path / "shop"
    half = np.broadcast_to(np.where(np.arange(10) < 4, 2, 1), (5, 8, 10))
    write_version_3(shop, "drawn_25um", STRUCTURES, volume(), hemispheres=half)

    class BrainGlobeAtlas:
        def __init__(self, name: str, check_latest: bool) -> None:
            asked.append(name)
            if name != "drawn_25um":
                raise FileNotFoundError(f"{name} is not a valid atlas name!")
            ignore = shutil.ignore_patterns("c")
            shutil.copytree(shop, home, ignore=ignore, dirs_exist_ok=True)

        def _get(self, file: str) -> None:
            asked.append(file)
            for chunks in shop.rglob("c"):
                if file in str(chunks):
                    place = home / chunks.relative_to(shop)
                    place.mkdir(parents=True)
                    if "break" in asked:
                        raise ConnectionError("the line\nbroke")
                    shutil.copytree(chunks, place, dirs_exist_ok=True)

        annotation = property(lambda self: self._get("annotations_compressed"))
        template = property(lambda self: self._get("template"))
        hemispheres = property(lambda self: self._get("hemispheres"))

    modules = {
        "brainglobe_atlasapi": BrainGlobeAtlas,
        "botocore.exceptions": type("E", (Exception,), {}),
    }
    for name, attribute in modules.items():
        module = ModuleType(name)
        setattr(module, "BotoCoreError" if "boto" in name else "BrainGlobeAtlas", attribute)
        module.__spec__ = sys.__spec__
        monkeypatch.setitem(sys.modules, name, module)
    return asked


def test_all_that_is_read_is_fetched_once(package: list[str], caplog) -> None:
    folder = fetch_brainglobe("drawn_25um")
    assert available_atlases() == {"drawn_25um": folder}
    assert {"annotations_compressed", "template", "hemispheres"} <= set(package)
    atlas = Atlas.open("drawn_25um")
    np.testing.assert_array_equal(atlas.annotation[:, :, ::-1], volume())
    assert atlas.template(2)[0].any()
    package.clear()
    assert fetch_brainglobe("drawn_25um") == folder
    assert package == [], "what is there is not fetched again"


def test_what_breaks_leaves_no_half_array_and_goes_on(package: list[str]) -> None:
    package.append("break")
    with pytest.raises(OSError, match="drawn_25um could not be fetched: the line broke"):
        fetch_brainglobe("drawn_25um")
    with pytest.raises(InputError, match=r"half there.*brainvae acquire brainglobe drawn_25um"):
        Atlas.open("drawn_25um")
    package.clear()
    fetch_brainglobe("drawn_25um")
    assert Atlas.open("drawn_25um").plane(2).any()


def test_an_atlas_that_nobody_has_is_one_line(package: list[str]) -> None:
    with pytest.raises(OSError, match="nine_um could not be fetched: nine_um is not a valid"):
        fetch_brainglobe("nine_um")


def test_without_the_package_it_says_how(home: Path, monkeypatch) -> None:  # noqa: F811
    monkeypatch.setattr(sys, "path", [])
    monkeypatch.delitem(sys.modules, "brainglobe_atlasapi", raising=False)
    assert not can_fetch()
    with pytest.raises(InputError, match=r"pip install 'napari-brainvae\[brainglobe\]'"):
        fetch_brainglobe("drawn_25um")


def command(name: str) -> Acquire:
    options = BrainGlobeOptions(name=name)
    return Acquire(atlas=None, sections=None, brainglobe=options)


def test_the_command_fetches_and_lists(package: list[str], caplog) -> None:
    caplog.set_level("INFO")
    run(command("drawn_25um"))
    assert "--atlas drawn_25um" in caplog.text
    caplog.clear()
    run(command(""))
    assert "1 atlases in" in caplog.text and "drawn_25um  " in caplog.text
