"""What is artifact in a section, outlined over it."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from napari_brainvae.arrays import Images, Mask
from napari_brainvae.atlas.atlas import outlines

YELLOW = (1.0, 0.9, 0.0)
WITHIN = 0.25
"""How opaque the colour is inside of the outline: what lies beneath is to be judged by eye."""


def artifact_outline(artifact: Mask, ground: Images | None = None) -> npt.NDArray[np.float32]:
    """Give a picture of an artifact's outline.

    Parameters
    ----------
    artifact
        ``(H, W)`` bool.
    ground
        Brightness ``(H, W)`` in [0, 1] of what lies beneath, to be part of the picture; by default
        it is clear there, to be laid over something.

    Returns
    -------
    ndarray
        ``(H, W, 4)`` float32: red, green, blue and opacity in [0, 1].
    """
    # With a margin, that an artifact at the border of the section is closed there.
    border = outlines(np.pad(artifact, 1).astype(np.uint8))[1:-1, 1:-1]
    opacity = np.where(border, 1.0, WITHIN * artifact)
    picture = np.empty((*artifact.shape, 4), dtype=np.float32)
    picture[..., :3], picture[..., 3] = YELLOW, opacity
    if ground is not None:
        grey = np.clip(ground, 0, 1)[..., None]
        picture[..., :3] = grey + opacity[..., None] * (picture[..., :3] - grey)
        picture[..., 3] = 1
    return picture
