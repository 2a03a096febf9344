"""See how brains differ: a beta-VAE on registered brain sections, read in two directions.

Everything a notebook needs is here and is imported when it is first asked for, so that
importing the package stays quick.
"""

from __future__ import annotations

from importlib import import_module
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

__version__ = version("napari-brainvae")

# No module may have the name of what it offers: once imported, the module would hide it.
_HOME = {
    "Atlas": "atlas",
    "BetaVAE": "vae",
    "PCA": "pca",
    "Population": "population",
    "cw_ssim": "wavelets",
    "disentanglement_score": "disentanglement",
    "impact_matrix": "impact",
    "load_checkpoint": "checkpoint",
    "pca_frechet_distance": "metrics",
    "projective_field": "projection",
    "save_checkpoint": "checkpoint",
}

__all__ = [
    "PCA",
    "Atlas",
    "BetaVAE",
    "Population",
    "cw_ssim",
    "disentanglement_score",
    "impact_matrix",
    "load_checkpoint",
    "pca_frechet_distance",
    "projective_field",
    "save_checkpoint",
]

if TYPE_CHECKING:
    from napari_brainvae.atlas import Atlas
    from napari_brainvae.checkpoint import load_checkpoint, save_checkpoint
    from napari_brainvae.disentanglement import disentanglement_score
    from napari_brainvae.impact import impact_matrix
    from napari_brainvae.metrics import pca_frechet_distance
    from napari_brainvae.pca import PCA
    from napari_brainvae.population import Population
    from napari_brainvae.projection import projective_field
    from napari_brainvae.vae import BetaVAE
    from napari_brainvae.wavelets import cw_ssim


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOME[name]}"), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *_HOME])
