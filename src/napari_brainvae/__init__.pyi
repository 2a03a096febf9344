from .atlas.atlas import Atlas as Atlas
from .atlas.brainglobe import available_atlases as available_atlases
from .data.covariates import preview_covariates as preview_covariates
from .data.population import Population as Population
from .factors.impact import impact_matrix as impact_matrix
from .factors.projective_field import projective_field as projective_field
from .factors.shape_and_brightness import shape_and_brightness as shape_and_brightness
from .factors.stability import factor_stability as factor_stability
from .io.errors import InputError as InputError
from .metrics.cw_ssim import cw_ssim as cw_ssim
from .metrics.disentanglement import disentanglement_score as disentanglement_score
from .metrics.image_quality import pca_frechet_distance as pca_frechet_distance
from .models.checkpoint import load_checkpoint as load_checkpoint
from .models.checkpoint import save_checkpoint as save_checkpoint
from .models.displacing import Displacing as Displacing
from .models.pca import PCA as PCA
from .models.rotation import rotate_factors as rotate_factors
from .models.vae import BetaVAE as BetaVAE

__version__: str
