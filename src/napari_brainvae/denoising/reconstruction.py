"""Reconstructions: the denoised section, what it leaves out, and whether the brain is unusual."""

from __future__ import annotations

from dataclasses import dataclass
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
from napari_brainvae.denoising.robust_inference import robust_inference
from napari_brainvae.io.atomic_files import replacing
from napari_brainvae.io.errors import InputError
from napari_brainvae.io.progress import Progress, report
from napari_brainvae.models.base import Model, kl_divergence, squared_error
from napari_brainvae.models.checkpoint import fingerprint

BATCH = 16


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
        ``(H, W)`` bool and float32, by `robust.robust_inference`; None if it was not asked for.
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
    ValueError
        If the section cannot be used or does not fit the model.
    """
    # Read once: from a file that takes as long as half a decode, at every step of a slider.
    stored = population.sections([index])
    section = population.prepare(stored, model.header.preprocessing, [population.ids[index]])
    repair = robust_inference(model, section) if robust else None
    if repair is None:
        mean, log_variance = model.encode(section)
        reconstruction = model.decode(mean)
    else:
        mean, log_variance = repair.mean, repair.log_variance
        reconstruction = repair.reconstruction
        section = np.clip(repair.gain[:, None, None] * section, 0, 1)
    error = float(squared_error(section, reconstruction)[0])
    kl = float(kl_divergence(mean, log_variance).sum())
    reference = model.header.reference
    return Reconstruction(
        section=section[0],
        reconstruction=reconstruction[0],
        residual=section[0] - reconstruction[0],
        mean=mean[0],
        error=error,
        kl=kl,
        stored=stored[0],
        outlier=None if reference is None else bool(reference.is_outlier(error, kl)),
        artifact=None if repair is None else repair.artifact[0],
        repaired=None if repair is None else repair.repaired[0],
    )


def export_reconstructions(
    model: Model,
    population: Population,
    path: str | Path,
    *,
    overwrite: bool = False,
    progress: Progress | None = None,
) -> None:
    """Write the reconstruction of every section; the file appears when it is complete.

    ``.zarr`` keeps ids and covariates and adds each section's error and KL divergence;
    ``.tif`` is an OME-TIFF with micrometres.

    Raises
    ------
    FileExistsError
        If ``path`` exists and ``overwrite`` was not asked for.
    ValueError
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
    write(model, population, path, progress)


def _to_zarr(model: Model, population: Population, path: Path, progress: Progress | None) -> None:
    description = population.description.model_copy(
        update={
            "preprocessing": model.header.preprocessing,
            "pixel_size_um": population.description.pixel_size_um or model.header.pixel_size_um,
            "source": f"reconstructions by model {fingerprint(model)}",
        }
    )
    table = population.covariates.copy()
    errors, divergences = np.empty((2, len(population)))
    with creating(
        path, population.ids, model.shape, np.float32, description, overwrite=True
    ) as group:
        for part, images, error, kl in _batches(model, population, progress):
            group["images"][part] = images
            errors[part], divergences[part] = error, kl
        table["reconstruction_error"], table["kl_divergence"] = errors, divergences
        write_covariates(group, table)


def _to_tiff(model: Model, population: Population, path: Path, progress: Progress | None) -> None:
    with replacing(path) as beside, tifffile.TiffWriter(beside, bigtiff=True, ome=True) as tif:
        tif.write(
            (
                image
                for _, images, _, _ in _batches(model, population, progress)
                for image in images
            ),
            shape=(len(population), *model.shape),
            photometric="minisblack",
            dtype=np.float32,
            metadata=ome_metadata(
                population.description.pixel_size_um or model.header.pixel_size_um,
                f"Reconstructions by napari-brainvae model {fingerprint(model)}",
                axes="TYX",
            ),
        )


def ome_metadata(pixel_size_um: float | None, text: str, axes: str) -> dict[str, Any]:
    """OME metadata of an exported image: axes, pixel size in um if known, where it comes from."""
    size = {
        "PhysicalSizeX": pixel_size_um,
        "PhysicalSizeXUnit": "µm",
        "PhysicalSizeY": pixel_size_um,
        "PhysicalSizeYUnit": "µm",
    }
    return {"axes": axes, "Description": text, **(size if pixel_size_um else {})}


def _batches(model: Model, population: Population, progress: Progress | None) -> Any:
    """Yield a slice of the brains, their reconstructions, errors and KL divergences."""
    for start in range(0, len(population), BATCH):
        report(progress, start, len(population))
        part = slice(start, min(start + BATCH, len(population)))
        sections = population.prepared(model.header.preprocessing, part)
        mean, log_variance = model.encode(sections)
        images = model.decode(mean)
        kl = kl_divergence(mean, log_variance).sum(axis=1)
        yield part, images, squared_error(sections, images), kl
    report(progress, len(population), len(population))
