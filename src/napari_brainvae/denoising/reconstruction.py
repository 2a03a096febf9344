"""Reconstructions: the denoised section, what it leaves out, and whether a brain is an outlier."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any
from uuid import NAMESPACE_OID, uuid5

import numpy as np
import numpy.typing as npt
import tifffile

from napari_brainvae.arrays import Images, Latents, Mask
from napari_brainvae.data.covariates import write_covariates
from napari_brainvae.data.population import Population
from napari_brainvae.data.population_files import creating
from napari_brainvae.data.preprocessing import crop_to
from napari_brainvae.denoising.robust_inference import robust_inference
from napari_brainvae.io.atomic_files import replacing
from napari_brainvae.io.errors import InputError
from napari_brainvae.io.progress import Progress, report, still
from napari_brainvae.models.base import Model
from napari_brainvae.models.checkpoint import fingerprint
from napari_brainvae.models.measures import kl_divergence, squared_error

BATCH = 16
CHANNELS = ("reconstruction", "repaired", "artifact")
"""Of a TIFF with masks; without, the first alone."""


@dataclass(frozen=True)
class Reconstruction:
    """One section through the model.

    Attributes
    ----------
    section, reconstruction, residual
        ``(H, W)`` float32; the first two in [0, 1], the residual is their difference.
    mean
        ``(L,)`` posterior mean of the latent factors.
    error
        Squared error averaged over pixels.
    kl
        KL divergence of the posterior from the prior, nats.
    stored
        ``(H', W')`` float32, the section as it is stored, not cropped.
    outlier
        Whether `models.header.Reference.is_outlier` says so of the section as it came; None if the
        checkpoint has no reference.
    artifact, repaired
        ``(H, W)`` bool and float32, by `robust_inference`; None if it was not used.
    """

    section: Images
    reconstruction: Images
    residual: Images
    mean: Latents
    error: float
    kl: float
    stored: Images
    outlier: bool | None
    artifact: Mask | None = None
    repaired: Images | None = None

    @property
    def gain(self) -> float:
        """What the stored section was multiplied by to become ``section``, where not clipped."""
        brightest = np.argmax(np.where(self.section < 1, self.section, 0))
        before = crop_to(self.stored, self.section.shape).reshape(-1)[brightest]
        return float(self.section.reshape(-1)[brightest]) / max(float(before), 1e-12)

    @property
    def artifact_share(self) -> float:
        """Share of the section's pixels that are artifact; 0 if nobody looked."""
        return 0.0 if self.artifact is None else float(self.artifact.mean())

    @property
    def error_left(self) -> float:
        """Squared error averaged over the pixels that are no artifact."""
        if self.artifact is None or self.artifact.all():
            return self.error
        return float(np.square(self.residual[~self.artifact]).mean())

    @property
    def finding(self) -> str:
        """What was found, and what was done about it, in a sentence."""
        if self.artifact is None:
            return "Reconstructed as it came."
        if not self.artifact.any():
            return "Looked for artifacts and found none."
        bright = float(self.residual[self.artifact].mean()) > 0
        kind = "brighter than brains are (as leakage is)" if bright else "darker (missing tissue)"
        share = f"{100 * self.artifact_share:.2g} % of the section"
        return (
            f"Artifact in {share}, {kind}: it was left out, and the rest encoded; the repaired "
            "section has the reconstruction there."
        )


@dataclass(frozen=True, eq=False)
class Denoised:
    """Sections ``(N, H, W)`` through a model.

    Attributes
    ----------
    sections
        As they came, those seen robustly times their gain.
    reconstructions
        The denoised sections.
    mean, kl
        ``(N, L)`` posterior means and ``(N,)`` KL divergence, nats.
    outlier
        ``(N,)`` bool, what the model calls the section as it came.
    robust
        ``(N,)`` bool, where `robust_inference` was used.
    artifact, repaired, gain
        As in `robust_inference.Repair`; where it was not used no pixel, the section, and 1.
    """

    sections: Images
    reconstructions: Images
    mean: Latents
    kl: npt.NDArray[np.float64]
    outlier: Mask
    robust: Mask
    artifact: Mask
    repaired: Images
    gain: npt.NDArray[np.float32]

    @property
    def error(self) -> npt.NDArray[np.float64]:
        """Squared error of each section, averaged over pixels, ``(N,)``."""
        return squared_error(self.sections, self.reconstructions)


def denoise_sections(
    model: Model,
    sections: Images,
    *,
    robust: bool | None = None,
    progress: Progress | None = None,
) -> Denoised:
    """Reconstruct prepared sections ``(N, H, W)``, without what is artifact.

    Parameters
    ----------
    robust
        By `robust_inference`: what the residual says is artifact is left out when a section is
        encoded and when its brightness is matched. None does so where the model calls a brain an
        outlier, and leaves intact brains as they are.
    progress
        Called with rounds done, and rounds; False stops.

    Raises
    ------
    InputError
        If the sections do not have the model's size.
    Stopped
        If ``progress`` asked to stop.
    """
    mean, log_variance = model.encode(sections)
    reconstructions = model.decode(mean)
    kl = kl_divergence(mean, log_variance).sum(axis=1)
    reference, count = model.header.reference, len(sections)
    outlier = np.zeros(count, dtype=bool)
    if reference is not None:
        outlier = reference.is_outlier(squared_error(sections, reconstructions), kl)
    chosen = outlier if robust is None else np.full(count, robust)
    artifact, gain = np.zeros(sections.shape, dtype=bool), np.ones(count, dtype=np.float32)
    if not chosen.any():
        seen = sections, reconstructions, mean, kl, outlier, chosen, artifact, sections, gain
        return Denoised(*seen)
    repair = robust_inference(model, sections[chosen], progress=progress)
    repaired, matched = sections.copy(), sections.copy()
    artifact[chosen], gain[chosen] = repair.artifact, repair.gain
    repaired[chosen], reconstructions[chosen] = repair.repaired, repair.reconstruction
    matched[chosen] = np.clip(repair.gain[:, None, None] * sections[chosen], 0, 1)
    mean[chosen] = repair.mean
    kl[chosen] = kl_divergence(repair.mean, repair.log_variance).sum(axis=1)
    return Denoised(matched, reconstructions, mean, kl, outlier, chosen, artifact, repaired, gain)


def reconstruct_section(
    model: Model, population: Population, index: int, *, robust: bool | None = None
) -> Reconstruction:
    """Treat one section of a population as the training data were treated, and reconstruct it.

    Parameters
    ----------
    robust
        As in `denoise_sections`.

    Raises
    ------
    InputError
        If the section cannot be used or does not fit the model.
    """
    # Read once: from a file that takes as long as half a decode, at every step of a slider.
    stored = population.sections([index])
    section = population.prepare(stored, model.header.preprocessing, [population.ids[index]])
    seen = denoise_sections(model, section, robust=robust)
    found = bool(seen.robust[0])
    return Reconstruction(
        section=seen.sections[0],
        reconstruction=seen.reconstructions[0],
        residual=seen.sections[0] - seen.reconstructions[0],
        mean=seen.mean[0],
        error=float(seen.error[0]),
        kl=float(seen.kl[0]),
        stored=stored[0],
        outlier=None if model.header.reference is None else bool(seen.outlier[0]),
        artifact=seen.artifact[0] if found else None,
        repaired=seen.repaired[0] if found else None,
    )


def export_reconstructions(
    model: Model,
    population: Population,
    path: str | Path,
    *,
    robust: bool | None = None,
    masks: bool | None = None,
    overwrite: bool = False,
    progress: Progress | None = None,
) -> None:
    """Write the reconstruction of every section; the file appears when it is complete.

    ``.zarr`` keeps ids and covariates and adds each section's error and KL divergence;
    ``.tif`` is an OME-TIFF with micrometres, whose first axis is the brain.

    Parameters
    ----------
    robust
        As in `denoise_sections`: for all, for none, or for outliers.
    masks
        Whether the file holds the repaired sections and the artifact masks, too: in arrays
        ``repaired`` and ``artifact`` beside ``images``, with columns for each section's ``gain``,
        its ``artifact_share`` and whether it was seen ``robust``-ly; in a TIFF as channels. By
        default a .zarr does unless ``robust`` is False, and a .tif if it is True.

    Raises
    ------
    FileExistsError
        If ``path`` exists and ``overwrite`` was not asked for.
    InputError
        For another kind of file, or sections that do not fit the model.
    Stopped
        If ``progress`` asked to stop; nothing is left behind.
    """
    path = Path(path)
    if path.exists() and not overwrite:
        raise FileExistsError(f"{path} exists already; give another name")
    write = {".zarr": _to_zarr, ".tif": _to_tiff, ".tiff": _to_tiff}.get(path.suffix.lower())
    if write is None:
        raise InputError(f"{path.name}: reconstructions are written as .zarr, .tif or .tiff")
    if path.is_dir() and path.suffix.lower() != ".zarr":
        raise InputError(f"{path} is a folder, not a file to replace")
    if masks is None:
        masks = robust is not False if path.suffix.lower() == ".zarr" else robust is True
    source = f"by napari-brainvae model {fingerprint(model)}{_HOW[robust]}"
    write(model, population, path, _batches(model, population, robust, progress), masks, source)


Batches = Iterator[tuple[slice, Denoised]]


_HOW = {
    True: ", with robust inference",
    False: "",
    None: ", with robust inference of outliers",
}


def _to_zarr(
    model: Model, population: Population, path: Path, batches: Batches, masks: bool, source: str
) -> None:
    description = population.description.model_copy(
        update={
            "preprocessing": model.header.preprocessing,
            "pixel_size_um": model.pixel_size_um(population.description.pixel_size_um),
            "source": f"reconstructions {source}",
        }
    )
    table = population.covariates.copy()
    names = [
        "reconstruction_error",
        "kl_divergence",
        *(["gain", "artifact_share", "robust"] * masks),
    ]
    measures = np.empty((len(population), len(names)))
    with creating(
        path, population.ids, model.shape, np.float32, description, overwrite=True
    ) as group:
        if masks:
            for name, dtype in (("repaired", np.float32), ("artifact", bool)):
                size, chunks = (len(population), *model.shape), (1, *model.shape)
                group.create_array(name, shape=size, chunks=chunks, dtype=dtype)
        for part, seen in batches:
            group["images"][part] = seen.reconstructions
            measures[part, :2] = np.column_stack([seen.error, seen.kl])
            if masks:
                group["repaired"][part] = seen.repaired
                group["artifact"][part] = seen.artifact
                share = seen.artifact.mean(axis=(1, 2))
                measures[part, 2:] = np.column_stack([seen.gain, share, seen.robust])
        table[names] = measures
        write_covariates(group, table)


def _to_tiff(
    model: Model, population: Population, path: Path, batches: Batches, masks: bool, source: str
) -> None:
    pixel_size_um = model.pixel_size_um(population.description.pixel_size_um)
    metadata = ome_metadata(
        pixel_size_um,
        f"Reconstructions {source}",
        "QCYX" if masks else "QYX",
        what="brain",
        names=population.ids,
    )
    channels = CHANNELS if masks else CHANNELS[:1]
    metadata["Channel"] = {"Name": channels}
    size = (len(population), *([len(channels)] * masks), *model.shape)
    with replacing(path) as beside, tifffile.TiffWriter(beside, bigtiff=True, ome=True) as tif:
        pages = (page for _, seen in batches for page in _pages(seen, masks))
        look: dict[str, Any] = {"photometric": "minisblack", "dtype": np.float32}
        tif.write(pages, shape=size, metadata=metadata, **look)


def _pages(seen: Denoised, masks: bool) -> Iterator[Images]:
    """Give the pages of sections in the order of `CHANNELS`."""
    for i, reconstruction in enumerate(seen.reconstructions):
        yield reconstruction
        if masks:
            yield seen.repaired[i]
            yield seen.artifact[i].astype(np.float32)


def ome_metadata(
    pixel_size_um: float | None, text: str, axes: str, *, what: str, names: Sequence[str]
) -> dict[str, Any]:
    """OME metadata of an exported stack: where it comes from, and what is along its first axis.

    OME knows no axis of brains or of factors. ``Q`` is what it calls another one than depth,
    channel and time (a "modulo" annotation), so that no program need take brains for a film.

    Parameters
    ----------
    axes
        Beginning with Q.
    what, names
        What Q counts, "brain", and the name of each; they go into the file as a map annotation.
    """
    size = {
        "PhysicalSizeX": pixel_size_um,
        "PhysicalSizeXUnit": "µm",
        "PhysicalSizeY": pixel_size_um,
        "PhysicalSizeYUnit": "µm",
    }
    counted = {str(i): name for i, name in enumerate(names)}
    return {
        "axes": axes,
        # Of what it says, not of the time of day: equal results give equal files.
        "UUID": f"urn:uuid:{uuid5(NAMESPACE_OID, f'{text} {what} {counted}')}",
        "Description": f"{text}. Axis Q is the {what}.",
        "MapAnnotation": {"Namespace": f"napari-brainvae/{what}", "Value": counted},
        **(size if pixel_size_um else {}),
    }


def _batches(
    model: Model, population: Population, robust: bool | None, progress: Progress | None
) -> Batches:
    """Yield a slice of the brains, and what the model makes of them."""
    total = len(population)
    for start in range(0, total, BATCH):
        report(progress, start, total)
        part = slice(start, min(start + BATCH, total))
        sections = population.prepared(model.header.preprocessing, part)
        # Asked in each round, too: a batch of them takes seconds.
        asked = None if progress is None else partial(still, progress, start, total)
        yield part, denoise_sections(model, sections, robust=robust, progress=asked)
    report(progress, total, total)
