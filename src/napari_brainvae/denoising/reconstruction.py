"""Reconstructions: the denoised section, what it leaves out, and whether the brain is unusual."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import tifffile

from napari_brainvae.arrays import Images, Latents
from napari_brainvae.data.covariates import write_covariates
from napari_brainvae.data.population import Population
from napari_brainvae.data.population_files import creating
from napari_brainvae.data.preprocessing import crop_to
from napari_brainvae.denoising.robust_inference import Repair, robust_inference
from napari_brainvae.io.atomic_files import replacing
from napari_brainvae.io.errors import InputError
from napari_brainvae.io.progress import Progress, report
from napari_brainvae.models.base import Model, kl_divergence, squared_error
from napari_brainvae.models.checkpoint import fingerprint

BATCH = 16
CHANNELS = ("reconstruction", "repaired", "artifact")
"""Of a TIFF with robust inference; without, the first alone."""


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
        Whether `models.base.Reference.is_outlier` says so; None if the checkpoint has no reference.
    artifact, repaired
        ``(H, W)`` bool and float32, by `robust_inference`; None if it was not asked for.
    """

    section: Images
    reconstruction: Images
    residual: Images
    mean: Latents
    error: float
    kl: float
    stored: Images
    outlier: bool | None
    artifact: npt.NDArray[np.bool_] | None = None
    repaired: Images | None = None

    @property
    def gain(self) -> float:
        """What the stored section was multiplied by to become ``section``, where not clipped."""
        brightest = np.argmax(np.where(self.section < 1, self.section, 0))
        before = crop_to(self.stored, self.section.shape).reshape(-1)[brightest]
        return float(self.section.reshape(-1)[brightest]) / max(float(before), 1e-12)


def reconstruct_section(
    model: Model, population: Population, index: int, *, robust: bool = False
) -> Reconstruction:
    """Treat one section of a population as the training data were treated, and reconstruct it.

    With ``robust``, what the residual says is artifact is replaced before the section is encoded,
    and the section's brightness is matched without it.

    Raises
    ------
    InputError
        If the section cannot be used or does not fit the model.
    """
    # Read once: from a file that takes as long as half a decode, at every step of a slider.
    stored = population.sections([index])
    section = population.prepare(stored, model.header.preprocessing, [population.ids[index]])
    seen = _through(model, section, robust=robust)
    error, kl = float(seen.error[0]), float(seen.kl[0])
    reference, repair = model.header.reference, seen.repair
    return Reconstruction(
        section=seen.sections[0],
        reconstruction=seen.reconstructions[0],
        residual=seen.sections[0] - seen.reconstructions[0],
        mean=seen.mean[0],
        error=error,
        kl=kl,
        stored=stored[0],
        outlier=None if reference is None else bool(reference.is_outlier(error, kl)),
        artifact=None if repair is None else repair.artifact[0],
        repaired=None if repair is None else repair.repaired[0],
    )


@dataclass(frozen=True, eq=False)
class _Seen:
    """Sections ``(N, H, W)`` through the model; ``sections`` times their gain, if repaired."""

    sections: Images
    reconstructions: Images
    mean: Latents
    error: npt.NDArray[np.float64]
    kl: npt.NDArray[np.float64]
    repair: Repair | None


def _through(
    model: Model, sections: Images, *, robust: bool, progress: Progress | None = None
) -> _Seen:
    repair = robust_inference(model, sections, progress=progress) if robust else None
    if repair is None:
        mean, log_variance = model.encode(sections)
        reconstructions = model.decode(mean)
    else:
        mean, log_variance = repair.mean, repair.log_variance
        reconstructions = repair.reconstruction
        sections = np.clip(repair.gain[:, None, None] * sections, 0, 1)
    error = squared_error(sections, reconstructions)
    kl = kl_divergence(mean, log_variance).sum(axis=1)
    return _Seen(sections, reconstructions, mean, error, kl, repair)


def export_reconstructions(
    model: Model,
    population: Population,
    path: str | Path,
    *,
    robust: bool = False,
    overwrite: bool = False,
    progress: Progress | None = None,
) -> None:
    """Write the reconstruction of every section; the file appears when it is complete.

    ``.zarr`` keeps ids and covariates and adds each section's error and KL divergence;
    ``.tif`` is an OME-TIFF with micrometres. With ``robust``, reconstructions are by
    `robust_inference`, and the file holds the repaired sections and the artifact masks, too: in
    arrays ``repaired`` and ``artifact`` beside ``images``, with columns for each section's gain and
    its share of artifact; in a TIFF as channels.

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
    write(model, population, path, _batches(model, population, robust, progress), robust)


Batches = Iterator[tuple[slice, _Seen]]


def _source(model: Model, robust: bool) -> str:
    how = ", with robust inference" if robust else ""
    return f"by napari-brainvae model {fingerprint(model)}{how}"


def _to_zarr(
    model: Model, population: Population, path: Path, batches: Batches, robust: bool
) -> None:
    description = population.description.model_copy(
        update={
            "preprocessing": model.header.preprocessing,
            "pixel_size_um": population.description.pixel_size_um or model.header.pixel_size_um,
            "source": f"reconstructions {_source(model, robust)}",
        }
    )
    table = population.covariates.copy()
    names = ["reconstruction_error", "kl_divergence", *(["gain", "artifact_share"] * robust)]
    measures = np.empty((len(population), len(names)))
    with creating(
        path, population.ids, model.shape, np.float32, description, overwrite=True
    ) as group:
        if robust:
            for name, dtype in (("repaired", np.float32), ("artifact", bool)):
                size, chunks = (len(population), *model.shape), (1, *model.shape)
                group.create_array(name, shape=size, chunks=chunks, dtype=dtype)
        for part, seen in batches:
            group["images"][part] = seen.reconstructions
            measures[part, :2] = np.column_stack([seen.error, seen.kl])
            if seen.repair is not None:
                group["repaired"][part] = seen.repair.repaired
                group["artifact"][part] = seen.repair.artifact
                measures[part, 2] = seen.repair.gain
                measures[part, 3] = seen.repair.artifact.mean(axis=(1, 2))
        table[names] = measures
        write_covariates(group, table)


def _to_tiff(
    model: Model, population: Population, path: Path, batches: Batches, robust: bool
) -> None:
    axes, channels = ("TCYX", CHANNELS) if robust else ("TYX", CHANNELS[:1])
    text = f"Reconstructions {_source(model, robust)}"
    pixel_size_um = population.description.pixel_size_um or model.header.pixel_size_um
    metadata = ome_metadata(pixel_size_um, text, axes=axes)
    if robust:
        metadata["Channel"] = {"Name": channels}
    size = (len(population), *([len(channels)] * robust), *model.shape)
    with replacing(path) as beside, tifffile.TiffWriter(beside, bigtiff=True, ome=True) as tif:
        pages = (page for _, seen in batches for page in _pages(seen))
        look: dict[str, Any] = {"photometric": "minisblack", "dtype": np.float32}
        tif.write(pages, shape=size, metadata=metadata, **look)


def _pages(seen: _Seen) -> Iterator[Images]:
    """Give the pages of sections in the order of `CHANNELS`."""
    for i, reconstruction in enumerate(seen.reconstructions):
        yield reconstruction
        if seen.repair is not None:
            yield seen.repair.repaired[i]
            yield seen.repair.artifact[i].astype(np.float32)


def ome_metadata(pixel_size_um: float | None, text: str, axes: str) -> dict[str, Any]:
    """OME metadata of an exported image: axes, pixel size in um if known, where it comes from."""
    size = {
        "PhysicalSizeX": pixel_size_um,
        "PhysicalSizeXUnit": "µm",
        "PhysicalSizeY": pixel_size_um,
        "PhysicalSizeYUnit": "µm",
    }
    return {"axes": axes, "Description": text, **(size if pixel_size_um else {})}


def _batches(
    model: Model, population: Population, robust: bool, progress: Progress | None
) -> Batches:
    """Yield a slice of the brains, and what the model makes of them."""
    total = len(population)
    for start in range(0, total, BATCH):
        report(progress, start, total)
        part = slice(start, min(start + BATCH, total))
        sections = population.prepared(model.header.preprocessing, part)
        # Asked in each round, too: a batch of them takes seconds.
        asked = None if progress is None else partial(_still, progress, start, total)
        yield part, _through(model, sections, robust=robust, progress=asked)
    report(progress, total, total)


def _still(progress: Progress, done: int, total: int, *_: int) -> bool | None:
    """Ask again, as far as things were, whatever round it is."""
    return progress(done, total)
