"""A coronal section of a mouse brain at the level of the dorsal hippocampus, drawn from nothing.

A schematic in millimetres: ``x`` from the midline to the side, ``y`` from the top of a frame of
11.2 x 8.0 mm downwards. Shapes are smooth closed curves through a few points; the layers of cortex
and hippocampus follow the distance from their surface. It is drawn by hand, so that a population
can be made on a machine that has never seen an atlas.
"""

from __future__ import annotations

import json
from functools import lru_cache
from importlib import resources
from typing import Any

import numpy as np
import scipy  # whose modules are imported when they are first used
import skimage  # likewise
from numpy.typing import NDArray

from napari_brainvae.arrays import Images, Labels, Mask
from napari_brainvae.atlas.ontology import Structure
from napari_brainvae.io.errors import InputError

Points = list[tuple[float, float]]

FRAME_MM = (8.0, 11.2)
"""Height and width of what is drawn; 320 x 448 pixels of 25 um."""


@lru_cache(maxsize=1)
def _anatomy() -> dict[str, Any]:
    """The numbers of the drawing, `drawn_section.json`.

    ``structures``: acronym, name, parent and colour; a parent comes before its parts.
    ``outlines``: closed curves of the right half. ``core`` is what the cortex wraps.
    ``nuclei`` and ``tracts``: what lies in the core, in the order of painting. Nuclei fade into
    each other; tracts and ventricles lie on top with clear edges.
    ``cortex``: ``area_ends``, where each sector of the shell ends, in degrees around (0.8, 4.2)
    from dorsal; ``profiles``, intensity at ``depths`` from 0 at the pia to 1 at the white matter,
    each in full at an angle of ``profile_at`` and mixed between two.
    ``hippocampal_strata``: intensity against the distance from the alveus: oriens, pyramidal layer,
    radiatum, lacunosum.
    ``landmark``: the nucleus that only the right hemisphere has.
    """
    file = resources.files("napari_brainvae.phantom") / "drawn_section.json"
    anatomy: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
    return anatomy


def drawn_structures() -> list[Structure]:
    """Return the ontology of the drawn section: the field's acronyms, ids of its own."""
    structures: dict[str, Structure] = {}
    for order, (acronym, name, parent, color) in enumerate(_anatomy()["structures"]):
        above = structures[parent].path if parent else ()
        red, green, blue = bytes.fromhex(color)
        structures[acronym] = Structure(
            order + 1, acronym, name, (*above, order + 1), (red, green, blue), order
        )
    return list(structures.values())


def draw(height: int, width: int) -> tuple[Images, Labels, float]:
    """Draw the section centred in an image of any size.

    Parameters
    ----------
    height, width
        In pixels, each at least 64. The frame is fitted into the image, pixels stay square.

    Returns
    -------
    template : ndarray
        (height, width) float32 in [0, 1], black outside the brain.
    annotation : ndarray
        (height, width) uint32, ids of `drawn_structures`.
    pixel_size_um : float
        25 for 320 x 448.
    """
    if height < 64 or width < 64:
        raise InputError(f"a section needs at least 64 x 64 pixels, not {height} x {width}")
    # Drawn finer, an odd number of times, so that each pixel has a middle one for its label.
    finer = 2 * max(1, round(400 / height)) + 1
    pixel_mm = max(FRAME_MM[0] / height, FRAME_MM[1] / width)
    pen = _Pen(height * finer, width * finer, pixel_mm / finer)
    _draw_cortex(pen)
    _draw_core(pen)
    _draw_hippocampus(pen)
    image, labels = _both_sides(pen)
    image = scipy.ndimage.gaussian_filter(image, 0.022 / pen.mm, output=np.float32)
    template = image.reshape(height, finer, width, finer).mean((1, 3), dtype=np.float64)
    template *= 1 + 0.03 * _mottle(height, width, pixel_mm)
    middle = slice(finer // 2, None, finer)
    return template.astype(np.float32).clip(0, 1), labels[middle, middle], 1000 * pixel_mm


class _Pen:
    """The right half of the canvas while it is drawn."""

    def __init__(self, height: int, width: int, mm: float) -> None:
        self.mm = mm
        self.width = width
        self.y = ((np.arange(height) + 0.5 - height / 2) * mm + FRAME_MM[0] / 2)[:, None]
        self.x = ((np.arange(width // 2, width) + 0.5 - width / 2) * mm)[None, :]
        self.image = np.zeros((height, self.x.size), np.float32)
        self.labels = np.zeros((height, self.x.size), np.uint32)
        self.ids = {structure.acronym: structure.id for structure in drawn_structures()}
        self.brain = self.inside(_anatomy()["outlines"]["brain"])
        # At the base of the brain there is no cortex to wrap anything.
        base = (self.x < 1.6) & (self.y > 5)
        self.core = (self.inside(_anatomy()["outlines"]["core"]) | base) & self.brain

    def inside(self, points: Points) -> Mask:
        """Pixels within the smooth closed curve through ``points``."""
        x, y = np.array([*points, points[0]]).T
        curve, _ = scipy.interpolate.splprep([x, y], s=0, per=True)
        x, y = scipy.interpolate.splev(np.linspace(0, 1, 8 * len(points)), curve)
        mask = np.zeros(self.image.shape, bool)
        rows, columns = (y - self.y[0]) / self.mm, (x - self.x[0, 0]) / self.mm
        mask[skimage.draw.polygon(rows, columns, mask.shape)] = True
        return mask

    def depth(self, mask: Mask) -> NDArray[np.float64]:
        """Distance in mm from each pixel of ``mask`` to its edge, 0 elsewhere."""
        return np.asarray(scipy.ndimage.distance_transform_edt(mask)) * self.mm

    def paint(self, acronym: str, where: Mask, intensity: float | NDArray[np.float64]) -> None:
        self.labels[where] = self.ids[acronym]
        self.image[where] = intensity if np.isscalar(intensity) else np.asarray(intensity)[where]

    def paint_shapes(self, shapes: list[dict[str, Any]]) -> None:
        """Paint what lies in the core, one over the other."""
        for shape in shapes:
            where = self.inside(shape["outline"]) & self.core
            self.paint(shape["acronym"], where, shape["intensity"])


def _draw_cortex(pen: _Pen) -> None:
    """Paint the shell of cortex: areas are sectors, layers follow the depth below the pia."""
    fissure = (pen.x < 0.02) & (pen.y < 1.56)
    below_pia, above_core = pen.depth(pen.brain & ~fissure), pen.depth(~pen.core)
    depth = below_pia / np.maximum(below_pia + above_core, 1e-6)
    angle = np.degrees(np.arctan2(pen.x - 0.8, 4.2 - pen.y))
    shell = pen.brain & ~pen.core
    cortex = _anatomy()["cortex"]
    at = [degrees for _, degrees in cortex["profile_at"]]
    image = np.zeros(depth.shape)
    for number, (name, _) in enumerate(cortex["profile_at"]):
        share = np.interp(angle, at, np.eye(len(at))[number])
        image += share * np.interp(depth, cortex["depths"], cortex["profiles"][name])
    start = -180.0
    for area, end in cortex["area_ends"]:
        pen.paint(area, shell & (angle >= start) & (angle < end), image)
        start = end
    _draw_barrels(pen, depth, angle)
    # The retrosplenial granular cortex is brightest in a sheet along the fissure.
    sheet = np.exp(-(((pen.x - 0.3) / 0.11) ** 2)) * np.clip((pen.y - 0.5) / 0.5, 0, 1)
    pen.image += np.where(shell, 0.16 * sheet, 0).astype(np.float32)
    pen.image[fissure & shell] = 0.2


def _draw_barrels(pen: _Pen, depth: NDArray[np.float64], angle: NDArray[np.float64]) -> None:
    """Brighten a row of barrels in layer 4, with darker septa between them."""
    (_, start), (_, end) = _anatomy()["cortex"]["area_ends"][1:3]
    across = (angle - start) / (end - start)
    field = pen.brain & ~pen.core & (across >= 0) & (across < 1)
    layer = field & (depth > 0.34) & (depth < 0.5)
    pen.labels[layer] = pen.ids["SSp-bfd4"]
    barrel = np.sin(np.pi * 5 * across) ** 2
    soft = np.exp(-(((depth - 0.42) / 0.11) ** 2))
    pen.image += np.where(field, soft * (0.2 * barrel - 0.06), 0).astype(np.float32)


def _draw_core(pen: _Pen) -> None:
    """Paint what the cortex wraps, from the white matter up."""
    # The callosum has a lighter upper and a darker lower sheet.
    sheets = 0.19 + 0.07 * np.cos(pen.depth(pen.core) / 0.3 * np.pi).clip(-1, 1)
    pen.paint("fiber tracts", pen.core, 0.2)
    pen.paint("cc", pen.core & (pen.y < 4.7), sheets)
    pen.paint_shapes(_anatomy()["nuclei"])
    blurred = scipy.ndimage.gaussian_filter(pen.image, 0.05 / pen.mm)
    deep = scipy.ndimage.binary_erosion(pen.core, iterations=round(0.06 / pen.mm))
    pen.image[deep] = blurred[deep]
    # Fibres run through the thalamus towards the capsule.
    grey = np.isin(pen.labels, [pen.ids[name] for name in ("TH", "VP", "LP", "MD", "ZI")])
    fan = np.arctan2(pen.y - 6.2, pen.x + 0.4)
    streaks = np.sin(46 * fan) * np.sin(19 * fan + 2.2 * pen.x) * np.clip(pen.x / 1.2, 0, 1)
    pen.image += np.where(grey, 0.03 * streaks, 0).astype(np.float32)
    pen.paint_shapes(_anatomy()["tracts"])


def _draw_hippocampus(pen: _Pen) -> None:
    """Paint the strata of Ammon's horn, and the dentate gyrus with its blades tucked in."""
    outlines, strata = _anatomy()["outlines"], _anatomy()["hippocampal_strata"]
    whole = pen.inside(outlines["hippocampus"]) & pen.core
    outside = pen.depth(~whole)
    pen.paint("alv", (outside > 0) & (outside < 0.07) & pen.core & (pen.y < 3.3), 0.2)
    # The strata follow the upper edge alone.
    above = ~whole & (pen.y < 2.3 + 0.27 * pen.x)
    image = np.interp(pen.depth(~above), strata["depths_mm"], strata["intensities"])
    # CA3 is brighter and its strata less distinct.
    lateral = np.clip((pen.x - 2.2) / 0.7, 0, 1)
    pen.paint("CA1", whole, image + lateral * (0.8 - image) * 0.6)
    pen.labels[whole & (pen.x > 2.15) & (pen.y > 2.4)] = pen.ids["CA3"]
    dentate = pen.inside(outlines["dentate gyrus"])
    rim = np.interp(pen.depth(dentate), [0, 0.03, 0.06], [0.5, 0.72, 0.76])
    pen.paint("DG", dentate & whole, rim)
    hilus = pen.inside(outlines["hilus"])
    pen.paint("DG", hilus, 0.52)
    blades = (pen.depth(hilus) < 0.035) & (pen.depth(~hilus) < 0.035)
    pen.paint("DG-sg", blades & (pen.x < 2.05), 0.36)


def _both_sides(pen: _Pen) -> tuple[Images, Labels]:
    """Mirror the half and add what is not symmetric."""
    left = pen.width // 2

    def mirror(half: NDArray[Any]) -> NDArray[Any]:
        return np.concatenate([half[:, ::-1][:, :left], half], axis=1)

    image, labels = mirror(pen.image), mirror(pen.labels)
    mark = _anatomy()["landmark"]
    landmark = np.hypot(pen.x - mark["x"], pen.y - mark["y"]) < mark["radius"]
    labels[:, left:][landmark] = pen.ids["LM"]
    image[:, left:][landmark] = 0.82
    return image, labels


def _mottle(height: int, width: int, pixel_mm: float) -> NDArray[np.float64]:
    """Uneven brightness of the tissue, the same at any size, mirrored like everything else."""
    noise = np.random.default_rng(25).normal(size=(2, 80, 60))
    wide = scipy.ndimage.gaussian_filter(noise[0], 2)
    coarse = 7 * wide + scipy.ndimage.gaussian_filter(noise[1], 0.7)
    rows = (np.arange(height) + 0.5 - height / 2) * pixel_mm + FRAME_MM[0] / 2
    columns = np.abs(np.arange(width) + 0.5 - width / 2) * pixel_mm
    where = np.stack(np.meshgrid(10 * rows, 10 * columns, indexing="ij"))
    return np.asarray(scipy.ndimage.map_coordinates(coarse, where, order=3, mode="nearest"))
