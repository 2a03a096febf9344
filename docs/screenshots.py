"""Take the pictures of the README and of the panels' pages from real windows: ``make screenshots``.

Each panel in windows of three sizes and in both themes, as they are after the clicks that a user
would make: nobody presses Home. ``python docs/screenshots.py atlas factors`` takes only these.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from shutil import rmtree
from tempfile import TemporaryDirectory, gettempdir
from typing import Any

import napari
import nibabel
import numpy as np
from PIL import Image
from qtpy.QtCore import Qt
from qtpy.QtWidgets import QApplication

from napari_brainvae.models.checkpoint import save_checkpoint
from napari_brainvae.models.pca import PCA
from napari_brainvae.phantom.demo import DEMO
from napari_brainvae.phantom.phantom import Phantom, draw_section, write_phantom

IMAGES = Path(__file__).parent / "images"
PLUGIN = "napari-brainvae"
SIZES = ((1366, 768), (1600, 1000), (1920, 1080))
THEMES = ("dark", "light")
COLORS = 256
"""Of a picture's palette: a quarter of the bytes."""

Size = tuple[int, int]


def wait(condition: Callable[[], bool], seconds: float = 240) -> None:
    """Let the window work until something has happened."""
    end = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > end:
            raise TimeoutError("the window did not get there")
        settle(0.02)


def settle(seconds: float = 1.0) -> None:
    """Let the window draw."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        QApplication.processEvents()
        time.sleep(0.01)


def with_panel(size: Size, *names: str) -> tuple[napari.Viewer, Any]:
    """Open a window of a size, and panels; the last of them."""
    viewer = napari.Viewer()
    viewer.window._qt_window.resize(*size)
    widgets = [viewer.window.add_plugin_dock_widget(PLUGIN, each)[1] for each in names]
    settle()
    return viewer, widgets[-1]


def opened(size: Size, name: str, *, atlas: bool = True) -> tuple[napari.Viewer, Any]:
    """Open a window of a size, the panel, and the samples by its button."""
    names = [name] if name == "Atlas" or not atlas else ["Atlas", name]
    viewer, widget = with_panel(size, *names)
    widget.begin()
    wait(lambda: widget.workspace.ready)
    wait(lambda: not atlas or widget.workspace.atlas is not None)
    wait(lambda: not hasattr(widget, "latest") or widget.latest.idle)
    settle(2)
    return viewer, widget


def save(viewer: napari.Viewer, name: str, size: Size, *, keep: bool = False) -> None:
    """Write the whole window in both themes, and close it unless it is to be kept."""
    for theme in THEMES:
        viewer.theme = theme
        settle(1.5)
        pixels = viewer.screenshot(canvas_only=False, flash=False)
        first = size == SIZES[0] and theme == THEMES[0]
        path = IMAGES / (f"{name}.png" if first else f"panels/{name}-{size[0]}-{theme}.png")
        path.parent.mkdir(exist_ok=True, parents=True)
        picture = Image.fromarray(np.ascontiguousarray(pixels[..., :3]))
        # By coverage: the median cut makes what is rare and bright, as points are, another hue.
        cover = Image.Quantize.MAXCOVERAGE
        plain = picture.quantize(COLORS, cover, kmeans=1, dither=Image.Dither.NONE)
        plain.save(path, optimize=True)
        print(path)
    viewer.theme = THEMES[0]
    if not keep:
        viewer.close()


def reconstruct(size: Size) -> None:
    """A brain with leaking fluorescence, side by side with its reconstruction; the outliers."""
    phantom = Phantom(draw_section(DEMO.height, DEMO.width), DEMO)
    leaking = next(i for i in range(len(phantom)) if phantom.brain(i).artifact == "leakage")
    viewer, widget = opened(size, "Reconstruct and denoise", atlas=False)
    viewer.dims.set_point(0, leaking)
    wait(lambda: widget.latest.idle)
    widget._side_by_side.setChecked(True)
    widget.brains.measure()
    wait(lambda: not widget.job.running)
    save(viewer, "reconstruct", size)


def atlas(size: Size) -> None:
    """The structure tree, and the hippocampal formation picked."""
    viewer, widget = opened(size, "Atlas")
    widget.tree.search("hippo")
    widget.tree.choose(widget.section.atlas.structure("HPF").id)
    save(viewer, "atlas", size)


def receptive_field(size: Size) -> None:
    """A region removed from one brain, then the population measured: regions x factors."""
    viewer, widget = opened(size, "Receptive field")
    widget.regions.select("HPF")
    widget.weight.setValue(-1)
    wait(lambda: widget.latest.idle)
    save(viewer, "receptive_field", size, keep=True)
    widget.tabs.setCurrentIndex(1)
    widget.population.measure()
    wait(lambda: not widget.population.job.running)
    settle(5)  # the figures are drawn in the background
    save(viewer, "impact", size)


def projective_field(size: Size) -> None:
    """What every factor does, side by side."""
    viewer, widget = opened(size, "Projective field")
    wait(lambda: widget._shown is not None and widget._shown.done)
    widget.compute_all()
    wait(lambda: not widget.job.running)
    widget._grid.setChecked(True)
    save(viewer, "projective_field", size)


def factors(size: Size) -> None:
    """A sentence for each factor, and what one of them does over a section."""
    viewer, widget = opened(size, "Factors")
    widget.describe()
    wait(lambda: widget.described is not None)
    widget.factors.setCurrentRow(1)
    save(viewer, "factors", size)


def gallery(size: Size) -> None:
    """Thumbnails with residuals, the outliers first; some are marked."""
    viewer, widget = opened(size, "Gallery", atlas=False)
    widget.measure()
    wait(lambda: not widget.job.running)
    order = widget.thumbnails.brains.order
    for brains, mark in ((order[:2], "exclude"), (order[2:3], "unsure"), (order[4:6], "accept")):
        widget.workspace.marks.mark(brains, mark, by="gallery")
    settle(2)
    save(viewer, "gallery", size)


def explorer(size: Size) -> None:
    """A brain by chance, like those of the population, whose factors have names."""
    viewer, widget = opened(size, "Explore factors")
    described = viewer.window.add_plugin_dock_widget(PLUGIN, "Factors")[1]
    described.describe()
    wait(lambda: described.described is not None)
    viewer.window.remove_dock_widget(described)
    widget.list_brains()
    wait(lambda: not widget.job.running)
    for end, brain in enumerate((1, 20)):
        viewer.dims.set_point(0, brain)
        widget.way.picked.emit(end)
    widget.buttons.seed.setValue(3)
    widget.draw_like_population()
    wait(lambda: widget.latest.idle)
    save(viewer, "explorer", size)


def two_models(size: Size) -> None:
    """The demo model beside five principal components of the brains on show."""
    viewer, widget = opened(size, "Two models", atlas=False)
    preprocessing = widget.workspace.model.header.preprocessing
    sections = widget.workspace.population.prepared(preprocessing, slice(None))
    with TemporaryDirectory() as folder:
        path = Path(folder) / "PCA" / "model.safetensors"
        save_checkpoint(PCA.fit(sections, 5, preprocessing=preprocessing), path)
        widget.second.choose(path)
        wait(lambda: widget.inputs is not None and widget.latest.idle)
    viewer.dims.set_point(0, 6)
    wait(lambda: widget.latest.idle)
    widget._side_by_side.setChecked(True)
    widget.compare()
    wait(lambda: not widget.job.running)
    save(viewer, "two_models", size)


def brain_map(size: Size) -> None:
    """Brains in the plane of two factors, some of them selected."""
    viewer, widget = opened(size, "Map of brains")
    widget.measure()
    wait(lambda: widget.table is not None)
    first = widget.table["F1"]
    widget.brains.select((first > first.quantile(0.8)).to_numpy().nonzero()[0])
    widget._after.click()
    settle()
    save(viewer, "brain_map", size)


def compare(size: Size) -> None:
    """Females and males of the samples, with age taken out."""
    viewer, widget = opened(size, "Compare", atlas=False)
    wait(lambda: widget.workspace.atlas is not None)
    widget.choice.by.setCurrentText("sex")
    widget.choice.adjust.item(1).setCheckState(Qt.CheckState.Checked)
    widget.choice.plain.set_values({"permutations": 999, "pixel_permutations": 199})
    widget.compare()
    wait(lambda: not widget.job.running)
    widget.tabs.setCurrentWidget(widget.effects)
    wait(lambda: widget.effects.figure is not None)
    settle()
    save(viewer, "compare", size)


@contextmanager
def study() -> Iterator[Path]:
    """Give a folder whose name, which is in the picture, says nothing of this machine."""
    folder = Path(gettempdir()) / "study"
    folder.mkdir()
    try:
        yield folder
    finally:
        rmtree(folder)


def fit(size: Size) -> None:
    """A fit that goes on, with the linear start of the brain on show."""
    with study() as folder:
        write_phantom(Phantom(draw_section(DEMO.height, DEMO.width), DEMO), folder / "mice.zarr")
        viewer, widget = with_panel(size, "Fit")
        viewer.open(folder / "mice.zarr", plugin=PLUGIN)
        wait(lambda: widget.brains.text() != "")
        settle(2)
        widget.choice.plain.set_values({"steps": 2000})
        widget.fit.click()
        wait(lambda: len(widget.run.state.history) > 5 and widget.latest.idle)
        save(viewer, "fit", size, keep=True)
        widget.run.kill()
        wait(lambda: not widget.run.running)
        viewer.close()


def gather(size: Size) -> None:
    """Registered brains that were dropped, one of them damaged, and what will be made of them."""
    with study() as folder:
        inside = folder / "brains"
        inside.mkdir()
        brains = Phantom(draw_section(DEMO.height, DEMO.width), DEMO)
        # Axes to the right, to the front, upwards, as NIfTI has them; 25 planes of one section.
        size_mm = np.diag([0.05, 0.1, 0.05, 1])
        for i in range(5):
            section = brains.brain(i).image[::-1, :, None]
            volume = np.repeat(section, 25, axis=2).transpose(1, 2, 0)
            image = nibabel.Nifti1Image((1000 * volume).astype(np.int16), size_mm)
            image.header.set_xyzt_units("mm")
            nibabel.save(image, inside / f"mouse-{i + 1}.nii.gz")
        (inside / "mouse-6.nii.gz").write_bytes(b"half a file")
        rows = [f"mouse-{i + 1},{'fm'[i % 2]},{60 + i}" for i in range(6)]
        (folder / "mice.csv").write_text("\n".join(["id,sex,age_days", *rows]))
        viewer, widget = with_panel(size, "Gather")
        widget.add([inside])
        widget.choice.plane.setText("12")
        widget.choice.covariates.setText(str(folder / "mice.csv"))
        widget.choice.plane.editingFinished.emit()
        wait(lambda: widget.preview is not None)
        widget.gather()
        wait(lambda: not widget.job.running)
        wait(lambda: widget.preview is not None)
        settle(2)
        save(viewer, "gather", size)


SCENES = (
    reconstruct,
    atlas,
    receptive_field,
    projective_field,
    factors,
    explorer,
    two_models,
    brain_map,
    gallery,
    compare,
    fit,
    gather,
)

if __name__ == "__main__":
    wanted = sys.argv[1:] or [scene.__name__ for scene in SCENES]
    for scene in SCENES:
        for window in SIZES if scene.__name__ in wanted else ():
            scene(window)
