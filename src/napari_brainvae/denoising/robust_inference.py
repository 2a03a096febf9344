"""Robust inference: find the pixels that are artifact, and encode a section without them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import scipy  # whose modules are imported when they are first used

from napari_brainvae.arrays import Images, Latents, Mask
from napari_brainvae.data.tissue import decoded_tissue
from napari_brainvae.io.progress import Progress, report
from napari_brainvae.models.base import Model
from napari_brainvae.models.residual_spread import TO_DEVIATION, on_pixels, smooth_residual

LESS_HEARD = 1.5
"""Spreads of the residual from which on a pixel has less say, in the rounds that come first."""

FORGOTTEN = 6.0
"""Spreads of the residual from which on a pixel has no say in the codes (Tukey's biweight)."""

MARKED = 5.0
"""Spreads of the residual above which a pixel is artifact."""

ROUNDS = 8
"""Sections have settled by then: twelve change no mean error by more than a hundredth (phantom on
the real template, trimmed PCA)."""

PLAUSIBLE = 3.0
"""Standard deviations from the population's mean, within which codes are sought: a hole in one
region is otherwise taken for a brain in which this region is dark as in no other. The price: a
brain in which it truly is, by five deviations or more, has its region marked."""

REFITS = 2
"""Of the codes to what is left once the artifact is cut out."""

FAINTEST = 1e-3
"""Residuals of this size, of a full scale of 1, are nothing, however small the spread."""

_STEP = 0.1  # of a code, to see what the decoder does with it
_TINY = 1e-6  # share of its mean diagonal that keeps a matrix invertible

Array = npt.NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Repair:
    """Sections without what the model takes for artifact.

    Attributes
    ----------
    artifact
        ``(N, H, W)`` bool, the pixels marked as artifact.
    repaired
        ``(N, H, W)`` float32 in [0, 1]: the section, times its gain, with the reconstruction where
        it is artifact.
    reconstruction
        ``(N, H, W)`` float32 in [0, 1], decoded from ``mean``.
    mean, log_variance
        ``(N, L)`` posterior over the latent factors of the repaired section.
    gain
        ``(N,)`` what undoes the artifact's part in the brightness matching: above 1 for leakage,
        below 1 for missing tissue.
    """

    artifact: Mask
    repaired: Images
    reconstruction: Images
    mean: Latents
    log_variance: Latents
    gain: npt.NDArray[np.float32]


def robust_inference(
    model: Model, sections: npt.ArrayLike, *, progress: Progress | None = None
) -> Repair:
    """Mark what the residual says is artifact, put the reconstruction there, encode again.

    Codes and gain are fitted to the section by iteratively reweighted least squares, from the
    population's mean outwards, with Huber's weights and then Tukey's biweight (Beaton and Tukey
    1974): a pixel that differs from the reconstruction by many times what is usual at its place has
    no say. Usual is what the checkpoint says of the sections that it
    was fitted on, times what this section has more of all over; where the checkpoint does not say,
    it grows with the gradient of the reconstruction. It sees what is large and strong in the
    residual, that is leakage and missing tissue; the tile grid is neither.

    Parameters
    ----------
    model
        Any; it need not have been fitted with augmentation.
    sections
        ``(N, H, W)`` preprocessed sections in [0, 1].
    progress
        Called as ``progress(rounds done, rounds)``; False stops.

    Raises
    ------
    InputError
        If the sections do not have the model's size.
    Stopped
        If ``progress`` asked to stop.
    """
    images = np.asarray(sections, dtype=np.float32)
    codes = model.encode(images)[0]
    fits = [_Fit(model, *each) for each in zip(images, codes, strict=True)]
    for done in range(ROUNDS):
        report(progress, done, ROUNDS)
        within = PLAUSIBLE * min(1.0, 2 * (done + 1) / ROUNDS)
        for fit in fits:
            fit.improve(_say(fit.strangeness(), last=done >= ROUNDS // 2), within)
    artifact = np.zeros(images.shape, dtype=bool)
    repaired = np.empty_like(images)
    for i, fit in enumerate(fits):
        # Artifacts fade out: what is next to a marked pixel is half artifact.
        reach = max(1, images.shape[1] // 160)
        artifact[i] = scipy.ndimage.binary_dilation(fit.strangeness() > MARKED, iterations=reach)
        for _ in range(REFITS):
            fit.improve(1.0 - artifact[i])
        repaired[i] = np.where(artifact[i], fit.decoded, np.clip(fit.gain * images[i], 0, 1))
    report(progress, ROUNDS, ROUNDS)
    mean, log_variance = model.encode(repaired)
    gain = np.array([fit.gain for fit in fits], dtype=np.float32)
    return Repair(artifact, repaired, model.decode(mean), mean, log_variance, gain)


def _say(strangeness: Images, *, last: bool) -> Array:
    """Weights of pixels: Huber's, which find home from anywhere, then Tukey's, which forget."""
    if last:
        return np.asarray(np.square(np.clip(1 - np.square(strangeness / FORGOTTEN), 0, None)))
    return LESS_HEARD / np.maximum(strangeness, LESS_HEARD)


class _Fit:
    """Codes and gain of one section, fitted to those of its pixels that have a say."""

    def __init__(self, model: Model, section: Images, code: Latents) -> None:
        self.model, self.section, self.gain = model, section, 1.0
        self.code = code.astype(np.float64)
        self.decoded = model.decode(code[None])[0]
        steps = code + _STEP * np.eye(len(code), dtype=np.float32)
        # Decoders bend so little that the slopes at the start serve all rounds.
        slopes = (model.decode(steps) - self.decoded) / _STEP
        self._slopes = slopes.reshape(len(code), -1)
        reference = model.header.reference
        known = None if reference is None else reference.residual_spread
        self._usual = None if known is None else on_pixels(known, model.shape)
        self._centre, self._deviation = np.zeros(len(code)), np.ones(len(code))
        if reference is not None:
            self._centre = np.array(reference.code_mean)
            self._deviation = np.array(reference.code_std)

    def strangeness(self) -> Images:
        """Residual of each pixel's surroundings, in what is usual there, ``(H, W)``."""
        residual = np.abs(smooth_residual(self.gain * self.section, self.decoded))
        # Empty glass agrees with the model to the noise, and would make all tissue look strange.
        tissue = decoded_tissue(self.decoded)
        usual = _by_gradient(self.decoded, tissue) if self._usual is None else self._usual
        relative = residual[tissue] / np.maximum(usual[tissue], 1e-12)
        more = TO_DEVIATION * float(np.median(relative)) if tissue.any() else 0.0
        return np.asarray(residual / np.maximum(more * usual, FAINTEST))

    def improve(self, weights: Array, within: float = np.inf) -> None:
        """Fit by weighted least squares: section = (reconstruction + slopes * change) / gain.

        With the prior on codes that the model was fitted with, if it was.
        """
        weights = weights.reshape(-1).astype(np.float32)
        design = np.vstack([self.decoded.reshape(1, -1), self._slopes])
        weighted = design * weights
        normal = (weighted @ design.T).astype(np.float64)
        right = (weighted @ self.section.reshape(-1)).astype(np.float64)
        if normal[0, 0] <= 0:
            return  # nothing is left to fit to
        prior = self.model.noise_variance or 0.0
        diagonal = np.r_[0.0, np.full(len(self.code), prior)]
        right[1:] -= prior * self.code
        normal += np.diag(diagonal + _TINY * np.trace(normal) / len(normal))
        level, *change = np.linalg.solve(normal, right)
        if not level > 0:
            return  # what is kept is all dark
        self.gain = float(1 / level)
        reach = within * np.maximum(self._deviation, 1e-6)
        code = self.code + np.array(change) / level
        self.code = np.clip(code, self._centre - reach, self._centre + reach)
        self.decoded = self.model.decode(self.code[None])[0]


def _by_gradient(decoded: Images, tissue: Mask) -> Images:
    """What a small displacement changes, and half of its median more: where nothing is known."""
    smooth = scipy.ndimage.gaussian_filter(decoded, len(decoded) / 160)
    slope = np.hypot(*np.gradient(smooth))
    return np.asarray(slope + 0.5 * (np.median(slope[tissue]) if tissue.any() else 1.0))
