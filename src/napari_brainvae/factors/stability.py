"""Which factors would come again in other brains: split the brains in halves, and look.

Rule. The linear path (trimmed principal components, varimax) is fitted to all brains and to both
halves of a split. Each factor is matched with one of each half by its field (Hungarian method on
the absolute cosine). What counts is the worse of both halves; the median over splits must be at
least `THRESHOLD`, and above what the best factor reaches in the same sections scrambled, where
nothing is shared between brains but their mean, their smoothness and how much each brightness
varies. Smooth noise has few degrees of freedom, and what has few comes again without meaning
anything: without the scrambled sections it would count.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from math import gcd

import numpy as np
import numpy.typing as npt
import scipy  # whose modules are imported when they are first used

from napari_brainvae.arrays import Images
from napari_brainvae.data.preprocessing import check_sections
from napari_brainvae.io.errors import InputError
from napari_brainvae.io.progress import Progress, report
from napari_brainvae.models.base import Model
from napari_brainvae.models.gram import Components, gram_matrix, trimmed_components_of
from napari_brainvae.models.pca import BLOCK
from napari_brainvae.models.rotation import factor_fields, varimax

Matrix = npt.NDArray[np.float64]

THRESHOLD = 0.85
"""Median similarity from which on a factor may count: planted factors of the phantom reach more."""

PIXELS = 20_000
"""Pixels, at most, that varimax looks at: of larger sections every second, third, ... on a phantom
of 160 x 224 px every fourth gives the fields of all pixels with a cosine of 0.9995."""

BRIGHTNESSES = 16
"""Classes of pixels by the mean section's brightness, whose variances scrambled sections keep."""

TRIMMED_WITH = 8
"""Components, at most, by whose residuals outliers are left out before sections are scrambled."""

AROUND = 32
"""Brains, at most, around whose codes the fields of a model are taken."""


@dataclass(frozen=True, eq=False)
class FactorStability:
    """How well L factors come again in S splits of the brains.

    Attributes
    ----------
    map_similarity
        ``(S, L)``, absolute cosine between a factor's field and that of its partner, in the worse
        of the two halves.
    code_correlation
        ``(S, L)``, absolute correlation between the codes that a factor and its partner give to all
        brains that are no outliers, in the worse half.
    subspace_overlap
        ``(S,)``, mean squared cosine of the angles between the spaces that both halves span.
    held_out_variance
        ``(S,)``, share of the variance of each half's brains that is left when the other half's
        components reconstruct them.
    scrambled_similarity
        Largest median similarity of any factor in scrambled sections.
    """

    map_similarity: Matrix
    code_correlation: Matrix
    subspace_overlap: Matrix
    held_out_variance: Matrix
    scrambled_similarity: float

    @property
    def similarity(self) -> Matrix:
        """``(L,)``, median over splits."""
        return np.asarray(np.median(self.map_similarity, axis=0))

    @property
    def replicated(self) -> npt.NDArray[np.bool_]:
        """``(L,)``, factors that come again by the rule of this module."""
        similarity = self.similarity
        return np.asarray(
            (similarity >= THRESHOLD) & (similarity > self.scrambled_similarity), dtype=np.bool_
        )


def factor_stability(
    images: npt.ArrayLike, latent_dim: int, splits: int = 10, seed: int = 0
) -> FactorStability:
    """Say of each factor of the linear path whether it would come again in other brains.

    Factors are in the order of the variance they explain.

    Parameters
    ----------
    images
        ``(N, H, W)`` preprocessed sections.
    latent_dim
        Number of factors L; a half must hold at least L + 2 brains.
    splits
        Random divisions of the brains in halves.
    seed
        Of the splits and of the scrambling.

    Raises
    ------
    InputError
        For unusable sections, or too few for so many factors.
    """
    return SplitHalves(images, splits, seed).measure(latent_dim)


class SplitHalves:
    """All that is computed once for one population, however many numbers of factors are tried.

    Parameters
    ----------
    images, splits, seed, progress
        As in `factor_stability`; progress counts the steps of the preparation.
    """

    def __init__(
        self,
        images: npt.ArrayLike,
        splits: int = 10,
        seed: int = 0,
        progress: Progress | None = None,
    ) -> None:
        self.images = check_sections(images)
        if splits < 1:
            raise InputError(f"at least one split of the brains is needed, not {splits}")
        if len(self.images) < 6:
            raise InputError(f"{len(self.images)} sections cannot be split in halves: give 6")
        self.splits, self.seed = splits, seed
        report(progress, 0, 2)
        self._sections = _Sections.of(self.images)
        report(progress, 1, 2)
        # Artifacts vary the brightness of whole regions: noise after their likeness is none.
        everyone = np.ones(len(self.images), dtype=bool)
        count = min(TRIMMED_WITH, self.most)
        usual = trimmed_components_of(self._sections.gram, everyone, count).kept
        self._scrambled = _Sections.of(scrambled(self.images, np.flatnonzero(usual), seed))
        report(progress, 2, 2)

    def measure(self, latent_dim: int) -> FactorStability:
        """Hold the factors fitted to all brains against those of halves.

        Raises
        ------
        InputError
            If the halves are too small for so many factors.
        """
        self._check(latent_dim)
        whole = self._sections.fit(np.ones(len(self.images), dtype=bool), latent_dim)
        order = np.argsort(-whole.norms, kind="stable")
        return self._hold(
            self._sections.gram @ whole.fields[:, order], whole.norms[order], whole.codes[:, order]
        )

    def measure_model(self, model: Model) -> FactorStability:
        """Hold a model's own factors against those of the linear path in halves.

        Raises
        ------
        InputError
            If the model is of another size, or the halves too small for its factors.
        """
        self._check(model.latent_dim)
        codes, _ = model.encode(self.images)
        around = np.unique(np.linspace(0, len(codes) - 1, AROUND).round().astype(int))
        fields = factor_fields(model, codes[around]).reshape(model.latent_dim, -1)
        flat = self.images.reshape(len(codes), -1)
        products = np.zeros((len(codes), model.latent_dim))
        for start in range(0, flat.shape[1], BLOCK):
            part = slice(start, start + BLOCK)
            products += flat[:, part].astype(np.float64) @ fields[:, part].T
        norms = np.linalg.norm(fields.astype(np.float64), axis=1)
        return self._hold(products, norms, codes.astype(np.float64))

    @property
    def most(self) -> int:
        """Largest number of factors that the halves can tell."""
        return len(self.images) // 2 - 2

    def _check(self, latent_dim: int) -> None:
        if not 1 <= latent_dim <= self.most:
            raise InputError(
                f"halves of {len(self.images)} sections tell from 1 to {self.most} factors, not "
                f"{latent_dim}"
            )

    def _hold(self, products: Matrix, norms: Matrix, codes: Matrix) -> FactorStability:
        """Compare fields, given by their products ``(N, L)`` with the sections, with halves'."""
        count, gram = codes.shape[1], self._sections.gram
        kept = trimmed_components_of(gram, np.ones(len(gram), dtype=bool), count).kept
        maps, correlations, overlaps, left = [], [], [], []
        for half in self._halves(len(gram)):
            fits = self._sections.fit_both(half, count)
            matched = [_match(products, norms, fit) for fit in fits]
            maps.append(np.min([similarity for similarity, _ in matched], axis=0))
            alike = [
                _correlations(codes[kept], fit.codes[kept][:, partner])
                for fit, (_, partner) in zip(fits, matched, strict=True)
            ]
            correlations.append(np.min(alike, axis=0))
            one, other = (fit.components for fit in fits)
            overlaps.append(np.square(one.weights.T @ gram @ other.weights).sum() / count)
            left.append(_left(gram, [(one, ~half & kept), (other, half & kept)]))
        return FactorStability(
            map_similarity=np.array(maps),
            code_correlation=np.array(correlations),
            subspace_overlap=np.array(overlaps),
            held_out_variance=np.array(left),
            scrambled_similarity=self._chance(count),
        )

    def _chance(self, count: int) -> float:
        """Largest median similarity of any factor of the scrambled sections."""
        sections = self._scrambled
        whole = sections.fit(np.ones(len(sections.gram), dtype=bool), count)
        products = sections.gram @ whole.fields
        similarity = [
            np.min(
                [_match(products, whole.norms, fit)[0] for fit in sections.fit_both(half, count)],
                axis=0,
            )
            for half in self._halves(len(sections.gram))
        ]
        return float(np.median(similarity, axis=0).max())

    def _halves(self, count: int) -> Iterator[npt.NDArray[np.bool_]]:
        """Yield which of the brains are in the first half of each split, ``(count,)`` bool."""
        rng = np.random.default_rng(self.seed)
        for _ in range(self.splits):
            half = np.zeros(count, dtype=bool)
            half[rng.permutation(count)[: count // 2]] = True
            yield half


def scrambled(images: Images, chosen: npt.NDArray[np.intp], seed: int) -> Images:
    """Sections in which nothing is shared between brains but what noise may share.

    Every section's deviation from the mean keeps its spatial frequencies (the magnitudes of its
    cosine transform) and loses its place (their signs are drawn anew), as surrogate data do
    (Theiler et al. 1992). Noise often grows with brightness, and there is none outside the tissue:
    deviations are divided by, and then multiplied again with, the standard deviation of the pixels
    that are as bright in the mean section.

    Parameters
    ----------
    images
        ``(N, H, W)``.
    chosen
        ``(n,)`` positions of the sections to scramble.
    seed
        Of the signs.

    Returns
    -------
    numpy.ndarray
        ``(n, H, W)`` float32, about zero.
    """
    mean = np.zeros(images.shape[1:])
    for i in chosen:
        mean += images[i]
    mean = (mean / len(chosen)).astype(np.float32)
    variance = np.zeros(mean.shape)
    for i in chosen:
        variance += np.square(images[i] - mean)
    rank = scipy.stats.rankdata(mean, method="ordinal").astype(int).ravel() - 1
    brightness = rank * BRIGHTNESSES // mean.size
    average = np.bincount(brightness, variance.ravel()) / np.bincount(brightness) / len(chosen)
    deviation = np.sqrt(average)[brightness].reshape(mean.shape).astype(np.float32)
    varies = deviation > 0.01 * deviation.max()
    inverse = np.divide(1, deviation, out=np.zeros_like(deviation), where=varies)
    rng = np.random.default_rng([seed, 1])
    result = np.empty((len(chosen), *mean.shape), dtype=np.float32)
    for to, i in enumerate(chosen):
        waves = scipy.fft.dctn((images[i] - mean) * inverse, norm="ortho")
        waves *= 1 - 2 * rng.integers(2, size=waves.shape, dtype=np.int8)
        result[to] = scipy.fft.idctn(waves, norm="ortho") * deviation
    return result


@dataclass(frozen=True, eq=False)
class _Fit:
    """The linear path fitted to some sections: its rotated factors."""

    components: Components
    fields: Matrix
    """``(N, L)`` weights of the sections in each field, the change per SD; columns sum to zero."""
    norms: Matrix
    """``(L,)`` Euclidean norm of each field over pixels."""
    codes: Matrix
    """``(N, L)`` of all sections, up to a constant."""


@dataclass(frozen=True, eq=False)
class _Sections:
    """What fits to any of the sections need: their inner products, and pixels for varimax."""

    gram: Matrix
    pixels: npt.NDArray[np.float32]

    @classmethod
    def of(cls, images: Images) -> _Sections:
        flat = images.reshape(len(images), -1)
        step = -(-flat.shape[1] // PIXELS)
        while gcd(step, images.shape[2]) > 1:  # else some columns would never be seen
            step += 1
        return cls(gram_matrix(images), flat[:, ::step] - flat[:, ::step].mean(axis=0))

    def fit(self, members: npt.NDArray[np.bool_], count: int) -> _Fit:
        components = trimmed_components_of(self.gram, members, count)
        scales = np.sqrt(components.variances)
        loadings = self.pixels.T @ (components.weights * scales).astype(np.float32)
        axes = varimax(loadings)
        fields = components.weights * scales @ axes
        norms = np.sqrt(np.square(scales[:, None] * axes).sum(axis=0))
        return _Fit(components, fields, norms, self.gram @ (components.weights / scales) @ axes)

    def fit_both(self, half: npt.NDArray[np.bool_], count: int) -> tuple[_Fit, _Fit]:
        return self.fit(half, count), self.fit(~half, count)


def _match(products: Matrix, norms: Matrix, fit: _Fit) -> tuple[Matrix, npt.NDArray[np.intp]]:
    """Partners of L factors in a fit, and their absolute cosines; each partner is given once."""
    # A factor that changes nothing, as collapsed ones, is like no other.
    scale = np.where(norms > 0, norms, np.inf)[:, None] * fit.norms
    cosines = np.abs(products.T @ fit.fields) / scale
    rows, partners = scipy.optimize.linear_sum_assignment(-cosines)
    return cosines[rows, partners], partners


def _correlations(codes: Matrix, others: Matrix) -> Matrix:
    """Absolute correlations of columns; of a constant one zero."""
    a, b = codes - codes.mean(axis=0), others - others.mean(axis=0)
    size = np.linalg.norm(a, axis=0) * np.linalg.norm(b, axis=0)
    return np.asarray(np.abs((a * b).sum(axis=0)) / np.where(size > 0, size, np.inf))


def _left(gram: Matrix, held_out: list[tuple[Components, npt.NDArray[np.bool_]]]) -> float:
    parts = [(*components.residuals(gram), which) for components, which in held_out]
    left = sum(residual[which].sum() for residual, _, which in parts)
    return float(left / sum(energy[which].sum() for _, energy, which in parts))
