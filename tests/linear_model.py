"""A model whose encoder and decoder are known matrices, so that every answer has a closed form."""

from __future__ import annotations

import numpy as np

from napari_brainvae.data.preprocessing import Preprocessing
from napari_brainvae.models.base import Model
from napari_brainvae.models.header import Header, Reference


class LinearModel(Model):
    """mean = <encoder, x>, variance constant; section = offset + <z, decoder>, not clipped."""

    def __init__(self, encoder, decoder=None, variance=0.1, offset=0.5, reference=None):
        self.encoder = np.asarray(encoder, np.float64)
        self.decoder = self.encoder if decoder is None else np.asarray(decoder, np.float64)
        self.variance, self.offset = variance, offset
        count, height, width = self.encoder.shape
        preprocessing = Preprocessing(height=height, width=width)
        header = Header(
            kind="pca",
            height=height,
            width=width,
            latent_dim=count,
            preprocessing=preprocessing,
            reference=reference,
        )
        super().__init__(header)

    def _tensors(self):
        return {"encoder": self.encoder}

    def _encode(self, images):
        mean = np.einsum("nhw,lhw->nl", images, self.encoder).astype(np.float32)
        return mean, np.full_like(mean, np.log(self.variance))

    def _decode(self, latents):
        return (self.offset + np.tensordot(latents, self.decoder, 1)).astype(np.float32)


def reference(code_mean, code_std):
    """A `Reference` of which only the codes matter."""
    zero = {"error_median": 0, "error_spread": 0, "kl_median": 0, "kl_spread": 0}
    return Reference(
        code_mean=code_mean, code_std=code_std, kl_per_factor=[0] * len(code_mean), **zero
    )
