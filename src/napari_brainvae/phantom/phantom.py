"""A population of brains whose differences are known: the truth a model is held against.

Every brain is one section with eight independent factors planted: the brightness of six regions and
two of shape. On top come what a real population has as well: a smooth residual misalignment, uneven
illumination, a gain of its own, noise, and in a share of brains one of the paper's artifacts.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property, partial
from pathlib import Path

import numpy as np
import pandas as pd
import scipy  # whose modules are imported when they are first used
from numpy.typing import NDArray

from napari_brainvae.arrays import Images, Labels, Mask
from napari_brainvae.atlas.atlas import Atlas, centred
from napari_brainvae.atlas.ontology import StructureTree
from napari_brainvae.data.artifacts import (
    ARTIFACTS,
    add_grid,
    add_leakage,
    remove_tissue,
    smooth_noise,
)
from napari_brainvae.data.covariates import CHECKED, strings, write_covariates
from napari_brainvae.data.population import Description
from napari_brainvae.data.population_files import creating
from napari_brainvae.io.errors import InputError
from napari_brainvae.io.progress import Progress, report
from napari_brainvae.phantom.deformation import moved_at_border, swelling, thickening
from napari_brainvae.phantom.drawn_section import draw, drawn_structures
from napari_brainvae.phantom.options import BRIGHTNESS_FACTORS as BRIGHTNESS_FACTORS
from napari_brainvae.phantom.options import BRIGHTNESS_PER_SD as BRIGHTNESS_PER_SD
from napari_brainvae.phantom.options import CASE_BRIGHTNESS, CASE_REGION, CASE_THICKNESS_UM
from napari_brainvae.phantom.options import FACTORS as FACTORS
from napari_brainvae.phantom.options import SHAPE_FACTORS as SHAPE_FACTORS
from napari_brainvae.phantom.options import THICKNESS_PER_SD as THICKNESS_PER_SD
from napari_brainvae.phantom.options import VENTRICLE_MM_PER_SD as VENTRICLE_MM_PER_SD
from napari_brainvae.phantom.options import PhantomOptions as PhantomOptions

_GAIN_SD = 0.15
_NOISE_SD = 0.02
DRAWN_PLANE = 2
_DRAWN_PLANES = 5


@dataclass(frozen=True)
class TemplateSection:
    """The anatomy a population shares.

    Attributes
    ----------
    template : ndarray
        (H, W) float32 in [0, 1].
    annotation : ndarray
        (H, W) uint32 structure ids, 0 outside the brain.
    tree : StructureTree
        What the ids mean.
    pixel_size_um : float
        Edge of a pixel.
    plane : int
        Index of the coronal plane that ``template`` and ``annotation`` show.
    """

    template: Images
    annotation: Labels
    tree: StructureTree
    pixel_size_um: float
    plane: int

    @property
    def shape(self) -> tuple[int, int]:
        """(H, W)."""
        height, width = self.template.shape
        return height, width

    @cached_property
    def tissue(self) -> Mask:
        """(H, W) bool, inside the brain."""
        return np.asarray(self.annotation > 0)


@dataclass(frozen=True)
class PhantomBrain:
    """One brain of the phantom.

    Attributes
    ----------
    image : ndarray
        (H, W) float32, not negative, raw: not yet matched in brightness.
    clean : ndarray
        (H, W) float32; ``image`` without artifact and noise.
    factors : ndarray
        (8,) planted values of `FACTORS`, in standard deviations, with what cases have more.
    artifact : str
        One of `ARTIFACTS`.
    mask : ndarray
        (H, W) bool, where the artifact changed the image.
    sex, age_days
        Covariates that have nothing to do with the image.
    group
        "case" or "control".
    """

    image: Images
    clean: Images
    factors: NDArray[np.float64]
    artifact: str
    mask: Mask
    sex: str
    age_days: int
    group: str = "control"


def draw_section(height: int, width: int) -> TemplateSection:
    """Draw a section from nothing; see `napari_brainvae.phantom.drawn_section`.

    Raises
    ------
    InputError
        If a side is shorter than 64 pixels.
    """
    template, annotation, pixel_size_um = draw(height, width)
    tree = StructureTree(drawn_structures())
    return TemplateSection(template, annotation, tree, pixel_size_um, DRAWN_PLANE)


def section_from_atlas(
    atlas: Atlas, plane: int, height: int, width: int, pixel_size_um: float | None = None
) -> TemplateSection:
    """Take the section from an atlas: the average template and its annotation.

    Parameters
    ----------
    atlas
        With an average template, or single planes of one.
    plane
        The plane wanted; the nearest one that the template has is taken, with its own annotation.
    height, width
        Size of the section, which shares its centre with the plane.
    pixel_size_um
        Edge of a pixel. By default the atlas's own, or coarser so that the whole brain fits.

    Raises
    ------
    InputError
        If there is no template, or one of the planted regions is not in the plane.
    """
    template, plane = atlas.template(plane)
    if pixel_size_um is None:
        brain_columns = int(np.ptp(np.flatnonzero(atlas.plane(plane).any(axis=0)))) + 1
        fit = max(1.0, template.shape[0] / height, brain_columns / width)
        pixel_size_um = atlas.resolution_um * fit
    annotation = atlas.section(plane, (height, width), pixel_size_um)
    ratio = pixel_size_um / atlas.resolution_um
    smooth = scipy.ndimage.gaussian_filter(template, max(0.0, (ratio - 1) / 2))
    rows, columns = (
        centred(size, available, ratio)
        for size, available in zip((height, width), template.shape, strict=True)
    )
    where = np.stack(np.meshgrid(rows, columns, indexing="ij"))
    image = scipy.ndimage.map_coordinates(smooth, where, order=1, output=np.float32)
    image /= max(float(image.max()), 1e-12)
    section = TemplateSection(image, annotation, atlas, pixel_size_um, plane)
    missing = [factor for factor in FACTORS if not planted_mask(section, factor).any()]
    if missing:
        raise InputError(f"plane {plane} cannot carry the phantom: no {', '.join(missing)} in it")
    return section


def planted_mask(section: TemplateSection, factor: str) -> Mask:
    """Where a factor was planted: its region, (H, W) bool.

    For the factors of shape it is the structure whose size they change.
    """
    if factor not in FACTORS:
        raise InputError(f"no factor {factor!r}: the planted ones are {', '.join(FACTORS)}")
    return section.tree.within(section.annotation, SHAPE_FACTORS.get(factor, factor))


def write_phantom_atlas(section: TemplateSection, directory: str | Path) -> None:
    """Write a drawn section as an atlas directory of a few planes; it is plane `DRAWN_PLANE`.

    Raises
    ------
    OSError
        If the directory holds something already.
    """
    depth = (_DRAWN_PLANES, *section.shape)
    annotation, template = np.zeros(depth, np.uint32), np.zeros(depth, np.float32)
    annotation[section.plane], template[section.plane] = section.annotation, section.template
    Atlas.write(directory, annotation, section.tree, section.pixel_size_um, template)


class Phantom:
    """A population of planted brains, any one of which can be made alone.

    Parameters
    ----------
    section
        The anatomy, of the size that ``options`` says.
    options
        How many brains of which kind.
    """

    def __init__(self, section: TemplateSection, options: PhantomOptions) -> None:
        if section.shape != (options.height, options.width):
            raise InputError(f"the section is {section.shape}, other than the options ask for")
        self.section = section
        self.options = options
        soft = 0.08 * 1000 / section.pixel_size_um
        self._regions = np.stack(
            [
                scipy.ndimage.gaussian_filter(planted_mask(section, name).astype(np.float32), soft)
                for name in BRIGHTNESS_FACTORS
            ]
        )
        self._shapes = shape_fields(section, options.thickness, options.ventricles_mm)
        self._planted = np.isin(FACTORS, options.planted.split(","))
        self._grid = np.indices(section.shape, dtype=np.float32)
        self._of_cases = self._shift_of_cases() if options.cases else np.zeros(len(FACTORS))

    def __len__(self) -> int:
        """Return the number of brains."""
        return self.options.count

    @property
    def ids(self) -> list[str]:
        """A name a brain."""
        return [f"phantom-{self.options.seed}-{i:04d}" for i in range(len(self))]

    @property
    def description(self) -> Description:
        """Where the sections lie, and what they are."""
        return Description(
            pixel_size_um=self.section.pixel_size_um,
            plane=self.section.plane,
            source=f"phantom, seed {self.options.seed}",
        )

    def brain(self, index: int) -> PhantomBrain:
        """Make one brain; the same whatever else was made before it.

        Raises
        ------
        InputError
            If ``index`` is not in the population.
        """
        if not 0 <= index < len(self):
            raise InputError(f"brain {index} is not in the population: 0 to {len(self) - 1}")
        rng = np.random.default_rng([self.options.seed, index])
        # Drawn for all, whichever vary: the rest of a brain does not depend on it.
        factors = rng.standard_normal(len(FACTORS))
        if self.options.pairs:
            first = np.random.default_rng([self.options.seed, index - index % 2])
            factors = first.standard_normal(len(FACTORS))
        factors = factors * self._planted
        # Spread evenly, so that just the wanted share are cases.
        is_case = int((index + 1) * self.options.cases) > int(index * self.options.cases)
        factors = factors + is_case * self._of_cases
        sex, age_days = str(rng.choice(["F", "M"])), int(rng.integers(54, 59))
        shape = self.section.shape
        warp = np.stack([smooth_noise(shape, 5, rng), smooth_noise(shape, 5, rng)])
        light = 1 + self.options.illumination * smooth_noise(shape, 2, rng)
        gain = np.exp(_GAIN_SD * rng.standard_normal())
        misaligned = warp * self.options.misalignment_um / self.section.pixel_size_um
        anatomy = self.anatomy(factors, misaligned)
        clean = np.maximum(anatomy * light * gain, 0).astype(np.float32)
        has_artifact = rng.random() < self.options.artifacts
        artifact = str(rng.choice(ARTIFACTS[1:])) if has_artifact else "none"
        corrupt, mask = self._corrupt(clean, artifact, rng)
        noise = _NOISE_SD * rng.standard_normal(shape, dtype=np.float32)
        image = np.maximum(corrupt + noise, 0)
        group = "case" if is_case else "control"
        return PhantomBrain(image, clean, factors, artifact, mask, sex, age_days, group)

    def anatomy(
        self, factors: NDArray[np.float64], warp: NDArray[np.float64] | float = 0.0
    ) -> Images:
        """Draw the section with given values of the factors, and nothing else.

        Parameters
        ----------
        factors
            (8,) values of `FACTORS` in standard deviations.
        warp
            (2, H, W) further displacement in pixels.

        Returns
        -------
        ndarray
            (H, W) float32.
        """
        bright = self.section.template * (1 + self.brightness(factors))
        where = self._grid + self.displacement(factors) + warp
        return np.asarray(scipy.ndimage.map_coordinates(bright, where, order=3, output=np.float32))

    def brightness(self, factors: NDArray[np.float64]) -> Images:
        """Share ``(H, W)`` by which values of the factors ``(8,)`` brighten the section."""
        values = np.asarray(factors[: len(BRIGHTNESS_FACTORS)], np.float32)
        return np.asarray(np.tensordot(self.options.brightness * values, self._regions, 1))

    def displacement(self, factors: NDArray[np.float64]) -> Images:
        """Where pixels ``(2, H, W)`` of a brain with these factors ``(8,)`` take their values."""
        values = np.asarray(factors[len(BRIGHTNESS_FACTORS) :], np.float32)
        return np.asarray(np.tensordot(values, self._shapes, 1))

    def _shift_of_cases(self) -> NDArray[np.float64]:
        """What cases have more of each of `FACTORS`, in standard deviations ``(8,)``."""
        cortex = planted_mask(self.section, "cortical thickness")
        moved_px = moved_at_border(self._shapes[0], cortex, self.section.tissue)
        shift = dict.fromkeys(FACTORS, 0.0) | {
            CASE_REGION: CASE_BRIGHTNESS / self.options.brightness,
            "cortical thickness": CASE_THICKNESS_UM / (moved_px * self.section.pixel_size_um),
        }
        return np.array(list(shift.values()))

    def _corrupt(
        self, clean: Images, artifact: str, rng: np.random.Generator
    ) -> tuple[Images, Mask]:
        if artifact == "none":
            return clean, np.zeros(clean.shape, bool)
        corrupt = {"leakage": add_leakage, "missing": remove_tissue, "grid": add_grid}[artifact]
        return corrupt(clean, self.section.tissue, rng)


def shape_fields(
    section: TemplateSection,
    thickness: float = THICKNESS_PER_SD,
    ventricles_mm: float = VENTRICLE_MM_PER_SD,
) -> Images:
    """What one standard deviation of each factor of shape moves, (2, 2, H, W) float32, pixels."""
    cortex, ventricles = (planted_mask(section, name) for name in SHAPE_FACTORS)
    pixels_per_mm = 1000 / section.pixel_size_um
    return np.stack(
        [
            thickening(cortex, section.tissue, thickness, pixels_per_mm),
            swelling(ventricles, section.tissue, ventricles_mm, pixels_per_mm),
        ]
    )


def write_phantom(phantom: Phantom, path: str | Path, progress: Progress | None = None) -> None:
    """Write a population file with the truth beside the sections.

    The group ``truth`` holds ``factors`` (N, 8), ``clean`` (N, H, W), ``artifact`` (N,) and
    ``artifact_mask`` (N, H, W); its attribute ``factors`` names the columns.

    Raises
    ------
    FileExistsError
        If ``path`` exists.
    Stopped
        If ``progress`` asked to stop; nothing is left behind.
    """
    brains: list[PhantomBrain] = []
    with creating(
        path, phantom.ids, phantom.section.shape, np.float32, phantom.description
    ) as group:
        truth = group.create_group("truth", attributes={"factors": FACTORS})
        add = partial(truth.create_array, compressors=CHECKED)
        each = {
            "shape": (len(phantom), *phantom.section.shape),
            "chunks": (1, *phantom.section.shape),
        }
        clean = add("clean", dtype=np.float32, **each)
        mask = add("artifact_mask", dtype=bool, **each)
        for i in range(len(phantom)):
            report(progress, i, len(phantom))
            brain = phantom.brain(i)
            group["images"][i], clean[i], mask[i] = brain.image, brain.clean, brain.mask
            # Only what the tables need is kept of each brain.
            nothing = np.empty((0, 0), np.float32)
            brains.append(replace(brain, image=nothing, clean=nothing, mask=nothing > 0))
        add("factors", data=np.stack([b.factors for b in brains]))
        add("artifact", data=strings([b.artifact for b in brains]))
        write_covariates(group, covariates_of(brains))
    report(progress, len(phantom), len(phantom))


def covariates_of(brains: Sequence[PhantomBrain]) -> pd.DataFrame:
    """Give what a curator would know: sex, age, and which sections are visibly not in order."""
    rows = [(b.sex, b.age_days, b.artifact != "none", b.group) for b in brains]
    table = pd.DataFrame(rows, columns=["sex", "age_days", "flagged", "group"])
    return table if "case" in set(table["group"]) else table.drop(columns="group")
