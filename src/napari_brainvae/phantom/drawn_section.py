"""A coronal section of a mouse brain at the level of the dorsal hippocampus, drawn from nothing.

A schematic in millimetres: ``x`` from the midline to the side, ``y`` from the top of a frame of
11.2 x 8.0 mm downwards. Shapes are smooth closed curves through a few points; the layers of cortex
and hippocampus follow the distance from their surface. It is drawn by hand, so that a population
can be made on a machine that has never seen an atlas.
"""

from __future__ import annotations

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

# acronym, name, parent, colour; a parent comes before its parts.
_TREE = """
root           | whole brain                              |              | f2f2f2
grey           | Basic cell groups and regions            | root         | c4d9e0
CH             | Cerebrum                                 | grey         | b4eaf5
CTX            | Cerebral cortex                          | CH           | b5f5bd
CTXpl          | Cortical plate                           | CTX          | 79f079
Isocortex      | Isocortex                                | CTXpl        | 72e882
SSp            | Primary somatosensory area               | Isocortex    | 1d8467
SSp-bfd        | Primary somatosensory area, barrel field | SSp          | 239673
SSp-bfd4       | Barrel field, layer 4                    | SSp-bfd      | 34b48c
SSs            | Supplemental somatosensory area          | Isocortex    | 17725e
AUD            | Auditory areas                           | Isocortex    | 0a8f93
PTLp           | Posterior parietal association areas     | Isocortex    | 10a0ae
RSP            | Retrosplenial area                       | Isocortex    | 22a796
TEa            | Temporal association areas               | Isocortex    | 1db0b4
ECT            | Ectorhinal area                          | Isocortex    | 119d92
OLF            | Olfactory areas                          | CTXpl        | 9acfbb
PIR            | Piriform area                            | OLF          | 6ec8b8
COA            | Cortical amygdalar area                  | OLF          | 63deb4
HPF            | Hippocampal formation                    | CTXpl        | 80cc50
CA1            | Field CA1                                | HPF          | 7ecf4d
CA3            | Field CA3                                | HPF          | 8ad75d
DG             | Dentate gyrus                            | HPF          | 6bbd40
DG-sg          | Dentate gyrus, granule cell layer        | DG           | 5aa636
ENT            | Entorhinal area                          | HPF          | 38b52c
CTXsp          | Cortical subplate                        | CTX          | 8cd78a
LA             | Lateral amygdalar nucleus                | CTXsp        | 92e890
BLA            | Basolateral amygdalar nucleus            | CTXsp        | 9ee49e
EPd            | Endopiriform nucleus, dorsal part        | CTXsp        | a2eba0
CNU            | Cerebral nuclei                          | CH           | 9ad3f2
STR            | Striatum                                 | CNU          | 96d2f5
CP             | Caudoputamen                             | STR          | 9cd8f8
CEA            | Central amygdalar nucleus                | STR          | 84bede
MEA            | Medial amygdalar nucleus                 | STR          | 7cb6d8
BS             | Brain stem                               | grey         | fa7484
IB             | Interbrain                               | BS           | f87080
TH             | Thalamus                                 | IB           | fb7888
LP             | Lateral posterior nucleus                | TH           | ff949e
MD             | Mediodorsal nucleus                      | TH           | ff8c98
PVT            | Paraventricular nucleus                  | TH           | fa909c
VP             | Ventral posterior complex                | TH           | ff8088
LGd            | Dorsal lateral geniculate complex        | TH           | ff8890
RT             | Reticular nucleus                        | TH           | f8949e
EPI            | Epithalamus                              | TH           | fc96a4
MH             | Medial habenula                          | EPI          | fca0ac
LH             | Lateral habenula                         | EPI          | fc98a6
LM             | landmark (right only)                    | TH           | ffd23c
HY             | Hypothalamus                             | IB           | e2483c
LHA            | Lateral hypothalamic area                | HY           | ec543e
VMH            | Ventromedial hypothalamic nucleus        | HY           | fc5e48
ZI             | Zona incerta                             | HY           | ee503e
STN            | Subthalamic nucleus                      | HY           | e64a36
fiber tracts   | fiber tracts                             | root         | cacaca
cc             | corpus callosum                          | fiber tracts | cecece
alv            | alveus                                   | fiber tracts | c6c6c6
cing           | cingulum bundle                          | fiber tracts | c2c2c2
fi             | fimbria                                  | fiber tracts | d2d2d2
st             | stria terminalis                         | fiber tracts | c8c8c8
em             | external medullary lamina                | fiber tracts | bebebe
ml             | medial lemniscus                         | fiber tracts | c0c0c0
cpd            | cerebral peduncle                        | fiber tracts | d4d4d4
opt            | optic tract                              | fiber tracts | d6d6d6
mtt            | mammillothalamic tract                   | fiber tracts | c4c4c4
fx             | columns of the fornix                    | fiber tracts | bcbcbc
fr             | fasciculus retroflexus                   | fiber tracts | d0d0d0
VS             | ventricular systems                      | root         | a8a8a8
VL             | lateral ventricle                        | VS           | acacac
V3             | third ventricle                          | VS           | a4a4a4
"""

_BRAIN: Points = [
    (0, 0.85), (0.15, 0.5), (0.45, 0.25), (0.95, 0.17), (1.9, 0.36), (2.9, 0.82), (3.8, 1.5),
    (4.5, 2.35), (4.95, 3.3), (5.08, 4.05), (4.98, 4.6), (4.9, 4.75), (4.87, 5.05), (4.4, 6.1),
    (3.95, 6.9), (3.55, 7.35), (3.1, 7.46), (2.6, 7.2), (2.0, 6.75), (1.7, 6.48), (1.52, 6.46),
    (1.15, 6.85), (0.9, 7.06), (0.45, 7.15), (0.3, 7.34), (0.1, 7.4), (-0.3, 7.4), (-0.9, 4),
    (-0.3, 0.5),
]  # fmt: skip
# What the cortex wraps: white matter and everything deep to it.
_CORE: Points = [
    (-0.3, 1.56), (0.1, 1.56), (0.4, 1.46), (0.72, 1.16), (1.1, 1.2), (1.9, 1.36), (2.6, 1.76),
    (3.2, 2.36), (3.66, 3.06), (3.9, 3.8), (3.98, 4.4), (4.02, 5.0), (3.98, 5.6), (3.75, 6.2),
    (3.45, 6.65), (3.0, 6.75), (2.4, 6.4), (1.95, 6.45), (1.62, 6.4), (1.2, 6.8), (0.9, 7.04),
    (0.45, 7.13), (0.3, 7.32), (0.1, 7.39), (-0.3, 7.39), (-0.6, 4),
]  # fmt: skip
# Sectors of the cortical shell: where each ends, in degrees around (0.8, 4.2) from dorsal.
_AREAS = [
    ("RSP", 6), ("PTLp", 32), ("SSp-bfd", 53), ("SSs", 63), ("AUD", 83), ("TEa", 93),
    ("ECT", 101), ("ENT", 109), ("PIR", 136), ("COA", 181),
]  # fmt: skip
# Intensity against depth, 0 at the pia and 1 at the white matter.
_DEPTHS = [0.0, 0.05, 0.12, 0.24, 0.36, 0.48, 0.6, 0.76, 0.92, 1.0]
_PROFILES = {
    "RSP": [0.42, 0.44, 0.46, 0.62, 0.7, 0.66, 0.6, 0.52, 0.38, 0.26],
    "SSp": [0.46, 0.5, 0.5, 0.62, 0.74, 0.78, 0.73, 0.77, 0.68, 0.42],
    "TEa": [0.46, 0.46, 0.42, 0.5, 0.58, 0.62, 0.64, 0.63, 0.56, 0.4],
    "PIR": [0.56, 0.56, 0.52, 0.38, 0.36, 0.43, 0.47, 0.5, 0.5, 0.46],
}
# Which profile holds where; between two, they are mixed.
_PROFILE_AT = [("RSP", 4), ("SSp", 34), ("SSp", 72), ("TEa", 95), ("PIR", 118)]
_HIPPOCAMPUS: Points = [
    (0.22, 2.2), (0.55, 2.02), (0.85, 1.7), (1.2, 1.43), (1.55, 1.37), (2.05, 1.5), (2.55, 1.82),
    (2.95, 2.24), (3.2, 2.68), (3.24, 2.98), (3.06, 3.16), (2.75, 3.04), (2.4, 2.85), (2.1, 2.74),
    (1.55, 2.74), (0.9, 2.78), (0.55, 2.72), (0.42, 2.52), (0.25, 2.4),
]  # fmt: skip
# Intensity against the distance from the alveus: oriens, pyramidal layer, radiatum, lacunosum.
_STRATA_MM = [0.0, 0.05, 0.13, 0.17, 0.21, 0.26, 0.4, 0.46, 0.5, 0.56, 0.7]
_STRATA = [0.6, 0.84, 0.82, 0.56, 0.55, 0.7, 0.68, 0.5, 0.5, 0.78, 0.72]
_HILUS: Points = [
    (0.58, 2.6), (1.0, 2.42), (1.45, 2.27), (1.8, 2.33), (2.12, 2.48), (1.85, 2.56), (1.5, 2.53),
    (1.0, 2.57),
]  # fmt: skip

# What lies in the core, in the order of painting: acronym, intensity, curve. Nuclei fade into each
# other; tracts and ventricles lie on top with clear edges.
_Shape = tuple[str, float, Points]
_NUCLEI: list[_Shape] = [
    ("CTXsp", 0.53, [(3.98, 4.7), (4.1, 5.3), (3.95, 6), (3.5, 6.7), (3, 6.8), (2.3, 6.4),
                     (2.6, 5.7), (3.2, 5), (3.7, 4.8)]),
    ("TH", 0.47, [(-0.3, 3.0), (0.1, 2.9), (0.3, 2.82), (0.95, 2.86), (1.9, 2.79), (2.3, 2.87),
                  (2.62, 3.15), (2.76, 3.6), (2.81, 4.05), (2.7, 4.45), (2.35, 4.68),
                  (1.75, 5.0), (1.15, 5.2), (0.5, 5.25), (-0.3, 5.25), (-0.5, 4)]),
    ("HY", 0.46, [(-0.3, 5.15), (0.6, 5.17), (1.4, 5.0), (2.4, 4.6), (2.5, 4.64), (1.9, 5.14),
                  (1.35, 5.6), (1.2, 5.9), (1.42, 6.2), (1.6, 6.45), (1.2, 6.85), (0.95, 7.08),
                  (0.45, 7.17), (0.3, 7.36), (0.1, 7.42), (-0.3, 7.42), (-0.5, 6)]),
    ("LP", 0.46, [(0.7, 2.92), (1.9, 2.86), (2.05, 3.15), (1.9, 3.4), (1.2, 3.45), (0.75, 3.2)]),
    ("LGd", 0.58, [(2.0, 2.82), (2.3, 2.9), (2.58, 3.15), (2.62, 3.36), (2.4, 3.42), (2.1, 3.1)]),
    ("VP", 0.56, [(2.1, 3.5), (2.34, 3.86), (2.32, 4.28), (2.0, 4.54), (1.4, 4.76), (1.35, 4.55),
                  (1.7, 4.1), (1.85, 3.64)]),
    ("RT", 0.43, [(2.58, 3.4), (2.74, 3.6), (2.8, 4.05), (2.7, 4.42), (2.46, 4.6), (2.5, 4.2),
                  (2.6, 3.8)]),
    ("MD", 0.5, [(0.3, 3.7), (0.78, 3.5), (0.85, 4.1), (0.5, 4.5), (0.12, 4.45), (0.1, 4.0)]),
    ("PVT", 0.43, [(-0.2, 3.32), (0.16, 3.34), (0.28, 3.6), (0.14, 3.95), (-0.2, 4.0)]),
    ("MH", 0.4, [(0.1, 2.85), (0.2, 2.68), (0.34, 2.82), (0.33, 3.12), (0.18, 3.22)]),
    ("LH", 0.45, [(0.38, 2.86), (0.6, 2.95), (0.64, 3.28), (0.42, 3.44), (0.3, 3.24)]),
    ("LHA", 0.38, [(1.15, 5.25), (1.5, 5.2), (1.2, 5.6), (1.12, 5.95), (1.3, 6.25), (1.0, 6.75),
                   (0.85, 6.2), (0.95, 5.6)]),
    ("VMH", 0.52, [(0.26, 6.4), (0.5, 6.3), (0.68, 6.55), (0.5, 6.85), (0.28, 6.75)]),
    ("ZI", 0.52, [(2.4, 4.6), (1.9, 4.86), (1.3, 5.1), (0.95, 5.35), (1.3, 5.32), (1.85, 5.02)]),
    ("STN", 0.7, [(1.18, 5.68), (1.4, 5.36), (1.85, 5.06), (2.0, 5.06), (1.72, 5.36),
                  (1.32, 5.68)]),
    ("MEA", 0.5, [(2.5, 5.6), (2.86, 5.6), (2.8, 6.1), (2.6, 6.5), (2.1, 6.56), (1.72, 6.4),
                  (1.74, 6.14), (2.1, 5.9)]),
    ("CEA", 0.47, [(2.9, 5.2), (3.15, 4.98), (3.4, 5.2), (3.15, 5.66), (2.82, 5.64)]),
    ("CP", 0.6, [(3.4, 3.0), (3.62, 3.36), (3.8, 3.95), (3.87, 4.5), (3.66, 4.9), (3.2, 5.06),
                 (3.08, 4.9), (3.34, 4.4), (3.5, 3.9), (3.46, 3.4)]),
    ("LA", 0.6, [(3.86, 4.54), (3.92, 5.0), (3.76, 5.5), (3.45, 5.56), (3.36, 5.26),
                 (3.6, 4.95)]),
    ("BLA", 0.58, [(3.3, 5.6), (3.68, 5.56), (3.74, 6.0), (3.5, 6.5), (3.2, 6.46), (2.95, 6.2),
                   (3.0, 5.84)]),
    ("EPd", 0.48, [(3.94, 4.95), (4.05, 5.2), (3.98, 5.6), (3.84, 5.96), (3.76, 5.8),
                   (3.88, 5.4)]),
]  # fmt: skip
_TRACTS: list[_Shape] = [
    ("cing", 0.16, [(0.4, 1.5), (0.72, 1.2), (1.1, 1.26), (0.8, 1.42)]),
    ("em", 0.27, [(2.3, 3.42), (2.46, 3.5), (2.53, 3.9), (2.45, 4.35), (1.9, 4.72), (1.5, 4.86),
                  (1.5, 4.81), (2.0, 4.6), (2.38, 4.32), (2.44, 3.9)]),
    ("ml", 0.28, [(0.72, 4.95), (1.05, 4.83), (1.42, 4.9), (1.3, 5.02), (0.9, 5.05)]),
    ("fr", 0.12, [(0.4, 3.5), (0.56, 3.48), (0.64, 3.62), (0.52, 3.76), (0.38, 3.66)]),
    ("mtt", 0.1, [(0.42, 5.3), (0.54, 5.26), (0.62, 5.4), (0.54, 5.54), (0.42, 5.48)]),
    ("fx", 0.2, [(0.8, 6.26), (0.9, 6.22), (0.98, 6.32), (0.9, 6.42), (0.8, 6.38)]),
    ("cpd", 0.07, [(2.4, 4.72), (2.72, 4.58), (2.9, 4.75), (2.7, 5.1), (2.2, 5.52), (1.6, 5.98),
                   (1.36, 6.12), (1.2, 5.92), (1.4, 5.68), (1.95, 5.18)]),
    ("opt", 0.1, [(2.94, 4.7), (3.0, 4.98), (2.7, 5.34), (2.1, 5.76), (1.55, 6.16), (1.42, 6.14),
                  (2.24, 5.56), (2.76, 5.1)]),
    ("st", 0.2, [(3.0, 3.9), (3.14, 4.3), (3.06, 4.8), (2.8, 5.3), (2.72, 5.28), (2.9, 4.8),
                 (2.86, 4.3)]),
    ("fi", 0.15, [(2.82, 3.1), (3.02, 3.2), (3.16, 3.44), (3.1, 3.9), (2.96, 4.1), (2.88, 3.9),
                  (2.84, 3.5)]),
    ("VL", 0.17, [(3.26, 3.0), (3.4, 3.1), (3.44, 3.5), (3.34, 4.0), (3.12, 4.6), (3.08, 4.5),
                  (3.2, 4.1), (3.26, 3.6), (3.22, 3.3)]),
    ("V3", 0.05, [(-0.2, 2.1), (0.1, 2.14), (0.2, 2.4), (0.14, 2.7), (0.08, 2.95), (0.06, 3.3),
                  (-0.06, 3.36), (-0.3, 2.8)]),
    ("V3", 0.05, [(0, 5.3), (0.04, 5.36), (0.06, 5.6), (0.065, 6), (0.06, 6.4), (0.055, 6.8),
                  (0.035, 7.02), (0, 7.06), (-0.06, 6.8), (-0.06, 6), (-0.05, 5.5)]),
]  # fmt: skip
_LANDMARK = (1.2, 3.9, 0.13)
"""x, y and radius of the nucleus that only the right hemisphere has."""


def drawn_structures() -> list[Structure]:
    """Return the ontology of the drawn section: the field's acronyms, ids of its own."""
    structures: dict[str, Structure] = {}
    for order, line in enumerate(_TREE.strip().splitlines()):
        acronym, name, parent, color = (cell.strip() for cell in line.split("|"))
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
        self.brain = self.inside(_BRAIN)
        # At the base of the brain there is no cortex to wrap anything.
        base = (self.x < 1.6) & (self.y > 5)
        self.core = (self.inside(_CORE) | base) & self.brain

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


def _draw_cortex(pen: _Pen) -> None:
    """Paint the shell of cortex: areas are sectors, layers follow the depth below the pia."""
    fissure = (pen.x < 0.02) & (pen.y < 1.56)
    below_pia, above_core = pen.depth(pen.brain & ~fissure), pen.depth(~pen.core)
    depth = below_pia / np.maximum(below_pia + above_core, 1e-6)
    angle = np.degrees(np.arctan2(pen.x - 0.8, 4.2 - pen.y))
    shell = pen.brain & ~pen.core
    at = [degrees for _, degrees in _PROFILE_AT]
    image = np.zeros(depth.shape)
    for number, (name, _) in enumerate(_PROFILE_AT):
        share = np.interp(angle, at, np.eye(len(at))[number])
        image += share * np.interp(depth, _DEPTHS, _PROFILES[name])
    start = -180.0
    for area, end in _AREAS:
        pen.paint(area, shell & (angle >= start) & (angle < end), image)
        start = end
    _draw_barrels(pen, depth, angle)
    # The retrosplenial granular cortex is brightest in a sheet along the fissure.
    sheet = np.exp(-(((pen.x - 0.3) / 0.11) ** 2)) * np.clip((pen.y - 0.5) / 0.5, 0, 1)
    pen.image += np.where(shell, 0.16 * sheet, 0).astype(np.float32)
    pen.image[fissure & shell] = 0.2


def _draw_barrels(pen: _Pen, depth: NDArray[np.float64], angle: NDArray[np.float64]) -> None:
    """Brighten a row of barrels in layer 4, with darker septa between them."""
    (_, start), (_, end) = _AREAS[1:3]
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
    for acronym, intensity, points in _NUCLEI:
        pen.paint(acronym, pen.inside(points) & pen.core, intensity)
    blurred = scipy.ndimage.gaussian_filter(pen.image, 0.05 / pen.mm)
    deep = scipy.ndimage.binary_erosion(pen.core, iterations=round(0.06 / pen.mm))
    pen.image[deep] = blurred[deep]
    # Fibres run through the thalamus towards the capsule.
    grey = np.isin(pen.labels, [pen.ids[name] for name in ("TH", "VP", "LP", "MD", "ZI")])
    fan = np.arctan2(pen.y - 6.2, pen.x + 0.4)
    streaks = np.sin(46 * fan) * np.sin(19 * fan + 2.2 * pen.x) * np.clip(pen.x / 1.2, 0, 1)
    pen.image += np.where(grey, 0.03 * streaks, 0).astype(np.float32)
    for acronym, intensity, points in _TRACTS:
        pen.paint(acronym, pen.inside(points) & pen.core, intensity)


def _draw_hippocampus(pen: _Pen) -> None:
    """Paint the strata of Ammon's horn, and the dentate gyrus with its blades tucked in."""
    whole = pen.inside(_HIPPOCAMPUS) & pen.core
    outside = pen.depth(~whole)
    pen.paint("alv", (outside > 0) & (outside < 0.07) & pen.core & (pen.y < 3.3), 0.2)
    # The strata follow the upper edge alone.
    above = ~whole & (pen.y < 2.3 + 0.27 * pen.x)
    image = np.interp(pen.depth(~above), _STRATA_MM, _STRATA)
    # CA3 is brighter and its strata less distinct.
    lateral = np.clip((pen.x - 2.2) / 0.7, 0, 1)
    pen.paint("CA1", whole, image + lateral * (0.8 - image) * 0.6)
    pen.labels[whole & (pen.x > 2.15) & (pen.y > 2.4)] = pen.ids["CA3"]
    dentate = pen.inside(
        [(0.42, 2.64), (0.62, 2.44), (0.95, 2.2), (1.4, 2.0), (1.85, 2.08), (2.26, 2.36),
         (2.2, 2.55), (1.9, 2.67), (1.5, 2.7), (1.0, 2.74), (0.6, 2.72)]
    )  # fmt: skip
    rim = np.interp(pen.depth(dentate), [0, 0.03, 0.06], [0.5, 0.72, 0.76])
    pen.paint("DG", dentate & whole, rim)
    hilus = pen.inside(_HILUS)
    pen.paint("DG", hilus, 0.52)
    blades = (pen.depth(hilus) < 0.035) & (pen.depth(~hilus) < 0.035)
    pen.paint("DG-sg", blades & (pen.x < 2.05), 0.36)


def _both_sides(pen: _Pen) -> tuple[Images, Labels]:
    """Mirror the half and add what is not symmetric."""
    left = pen.width // 2

    def mirror(half: NDArray[Any]) -> NDArray[Any]:
        return np.concatenate([half[:, ::-1][:, :left], half], axis=1)

    image, labels = mirror(pen.image), mirror(pen.labels)
    x, y, radius = _LANDMARK
    landmark = np.hypot(pen.x - x, pen.y - y) < radius
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
