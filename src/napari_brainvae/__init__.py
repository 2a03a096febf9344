"""See how brains differ: a beta-VAE on registered brain sections, read in two directions.

Everything a notebook needs is here and is imported when it is first asked for, so that
importing the package stays quick.
"""

from __future__ import annotations

from importlib import import_module
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

__version__ = version("napari-brainvae")

_HOME = {
    "Population": "population",
    "load_checkpoint": "checkpoint",
    "save_checkpoint": "checkpoint",
    "BetaVAE": "vae",
    "PCA": "pca",
}

__all__ = ["PCA", "BetaVAE", "Population", "load_checkpoint", "save_checkpoint"]

if TYPE_CHECKING:
    from napari_brainvae.atlas import Atlas
    from napari_brainvae.checkpoint import load_checkpoint, save_checkpoint
    from napari_brainvae.disentanglement import disentanglement_score
    from napari_brainvae.impact import impact_matrix
    from napari_brainvae.metrics import pca_frechet_distance
    from napari_brainvae.pca import PCA
    from napari_brainvae.population import Population
    from napari_brainvae.projective_field import projective_field
    from napari_brainvae.vae import BetaVAE
    from napari_brainvae.wavelets import cw_ssim


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOME[name]}"), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *_HOME])
