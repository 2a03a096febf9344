"""Which factors would come again in other brains: split the brains in halves, and look.

Rule. The linear path (trimmed principal components, varimax) is fitted to all brains and to both
halves of a split. Each factor is matched with one of each half by its field (Hungarian method on
the absolute cosine). It must come again in other brains, and also where a few more factors are
sought: of what varies without a place of its own, each number of factors makes something else. What
counts is the worst of these, and where its median over splits is at least `THRESHOLD` the factor is
said to replicate, unless it is the arch of another (`arch_effect`).

Where the rule fails: noise that is smooth over an eighth of the section or more has few degrees of
freedom, and its maps come again without meaning anything. A planted factor can also be missed, in
fewer brains than were calibrated on. So the count is a guide to how many factors there are, and no
bound.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from math import gcd

import numpy as np
import numpy.typing as npt
import scipy  # whose modules are imported when they are first used

from napari_brainvae.arrays import Images, Latents
from napari_brainvae.data.preprocessing import check_sections
from napari_brainvae.factors.arch_effect import arch_of
from napari_brainvae.io.errors import InputError
from napari_brainvae.io.progress import Progress, report
from napari_brainvae.io.real_numbers import whole_number
from napari_brainvae.models.base import Model
from napari_brainvae.models.gram import Components, gram_matrix, trimmed_components_of
from napari_brainvae.models.pca import BLOCK
from napari_brainvae.models.rotation import factor_fields, varimax
from napari_brainvae.models.smooth_components import smoothed

Matrix = npt.NDArray[np.float64]

THRESHOLD = 0.95
"""Median similarity from which on a factor may count. On phantoms of the real template (400 brains
in order, six factors of 18 % and 1.5 px) those planted reach 0.97 to 0.99 at L = 6, 8 and 12, and
nothing else more than 0.94; noise about a mean section 0.3 to 0.8."""

SPARE = 2
"""Components beside the L factors asked for: the last of those sought is cut from several."""

AGAIN = 3
"""Further components with which a factor must come again."""

ARCHES = 4
"""Components, at most, that are spent on arches beside those."""

PIXELS = 8_000
"""Pixels, at most, that varimax looks at: of larger sections every second, third, ... on a phantom
of 160 x 224 px every fourth gives the fields of all pixels with a cosine of 0.9995."""

AROUND = 32
"""Brains, at most, around whose codes the fields of a model are taken."""


@dataclass(frozen=True, eq=False)
class FactorStability:
    """How well L factors come again in S splits of the brains.

    Attributes
    ----------
    half_similarity
        ``(S, 2, L)``, absolute cosine between a factor's field and that of its partner, in both
        halves of each split.
    code_correlation
        ``(S, L)``, absolute correlation between the codes that a factor and its partner give to all
        brains that are no outliers, in the worse half.
    subspace_overlap
        ``(S,)``, mean squared cosine of the angles between the spaces that both halves span.
    held_out_variance
        ``(S,)``, share of the variance of each half's brains that is left when the other half's
        components reconstruct them (of smoothed sections, where components are fitted to those).
    arch_of
        ``(L,)`` int, the factor that a factor is only the arch of (see `arch_effect`), or -1.
    """

    half_similarity: Matrix
    code_correlation: Matrix
    subspace_overlap: Matrix
    held_out_variance: Matrix
    arch_of: npt.NDArray[np.intp]

    @property
    def map_similarity(self) -> Matrix:
        """``(S, L)``, that in the worse of the two halves."""
        return np.asarray(self.half_similarity.min(axis=1))

    @property
    def came_again(self) -> npt.NDArray[np.intp]:
        """``(L,)``, in how many of the 2 S halves a factor reached `THRESHOLD`."""
        return np.asarray((self.half_similarity >= THRESHOLD).sum(axis=(0, 1)))

    @property
    def similarity(self) -> Matrix:
        """``(L,)``, median over splits."""
        return np.asarray(np.median(self.map_similarity, axis=0))

    @property
    def replicated(self) -> npt.NDArray[np.bool_]:
        """``(L,)``, factors that come again by the rule of this module."""
        return np.asarray((self.similarity >= THRESHOLD) & (self.arch_of < 0), dtype=np.bool_)


def factor_stability(
    images: npt.ArrayLike,
    latent_dim: int,
    splits: int = 10,
    seed: int = 0,
    *,
    progress: Progress | None = None,
) -> FactorStability:
    """Say of each factor of the linear path whether it would come again in other brains.

    Factors are in the order of the variance they explain, without arches (see `arch_effect`).

    Parameters
    ----------
    images
        ``(N, H, W)`` preprocessed sections.
    latent_dim
        Number of factors L; a half must hold at least L + 2 brains.
    splits
        Random divisions of the brains in halves.
    seed
        Of the splits.
    progress
        Told of each split.

    Raises
    ------
    InputError
        For unusable sections, or too few for so many factors.
    Stopped
        If ``progress`` says so.

    Examples
    --------
    >>> import numpy as np
    >>> rng = np.random.default_rng(0)
    >>> sections = 0.5 + 0.01 * rng.standard_normal((40, 32, 40))
    >>> sections[:, 8:16, 8:16] += 0.1 * rng.standard_normal((40, 1, 1))
    >>> factor_stability(sections, 2, splits=3).replicated
    array([ True, False])
    """
    return SplitHalves(images, splits, seed).measure(latent_dim, progress)


class SplitHalves:
    """All that is computed once for one population, however many numbers of factors are tried.

    Parameters
    ----------
    images, splits, seed
        As in `factor_stability`.
    smoothing
        Standard deviation, px, of a Gaussian under which components are fitted, as by
        ``fit --smoothing``.
    """

    def __init__(
        self, images: npt.ArrayLike, splits: int = 10, seed: int = 0, smoothing: float = 0.0
    ) -> None:
        self.images = check_sections(images)
        if smoothing > 0:
            self.images = smoothed(self.images, smoothing)
        splits = whole_number(splits, "splits of the brains", 1)
        seed = whole_number(seed, "the seed", 0)
        if len(self.images) < 6:
            raise InputError(f"{len(self.images)} sections cannot be split in halves: give 6")
        self.splits, self.seed = splits, seed
        self._sections = sections = _Sections.of(self.images)
        halves = self._halves = list(random_halves(len(self.images), splits, seed))
        # L + AGAIN components are wanted again three numbers of factors later. Of no method, so
        # that nothing keeps the sections when this object is gone.
        self._fit_both = lru_cache(2 * (AGAIN + 1) * splits)(
            lambda split, count: sections.fit_both(halves[split], count)
        )

    def measure(self, latent_dim: int, progress: Progress | None = None) -> FactorStability:
        """Hold the factors fitted to all brains against those of halves.

        Raises
        ------
        InputError
            If the halves are too small for so many factors.
        """
        latent_dim = whole_number(latent_dim, "the number of factors")
        self._check(latent_dim)
        everyone = np.ones(len(self.images), dtype=bool)
        for components in range(latent_dim + SPARE, latent_dim + SPARE + ARCHES + 1):
            whole = self._sections.fit(everyone, min(components, self.most))
            order = np.argsort(-whole.norms, kind="stable")
            arches = arch_of(whole.codes[whole.components.kept][:, order]) >= 0
            if (~arches).sum() >= latent_dim or components >= self.most:
                break
        # Where more arches than that are among them, those stay in the list, and are called so.
        chosen = order[np.sort(np.argsort(arches, kind="stable")[:latent_dim])]
        products = self._sections.gram @ whole.fields[:, chosen]
        found = whole.norms[chosen], whole.codes[:, chosen]
        return self._hold(products, *found, components=len(arches), progress=progress)

    def measure_model(self, model: Model, sections: Images | None = None) -> FactorStability:
        """Hold a model's own factors against those of the linear path in halves.

        Parameters
        ----------
        sections
            ``(N, H, W)``, what the model encodes, where halves are fitted to smoothed sections.

        Raises
        ------
        InputError
            If the model is of another size, or the halves too small for its factors.
        """
        self._check(model.latent_dim)
        codes, _ = model.encode(self.images if sections is None else sections)
        fields = fields_among(model, codes).reshape(model.latent_dim, -1)
        flat = self.images.reshape(len(codes), -1)
        products = np.zeros((len(codes), model.latent_dim))
        for start in range(0, flat.shape[1], BLOCK):
            part = slice(start, start + BLOCK)
            products += flat[:, part].astype(np.float64) @ fields[:, part].T
        norms = np.linalg.norm(fields.astype(np.float64), axis=1)
        held = codes.astype(np.float64)
        return self._hold(products, norms, held, components=model.latent_dim + SPARE)

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

    def _hold(
        self,
        products: Matrix,
        norms: Matrix,
        codes: Matrix,
        *,
        components: int,
        progress: Progress | None = None,
    ) -> FactorStability:
        """Compare fields, given by their products ``(N, L)`` with the sections, with halves'."""
        count, gram = codes.shape[1], self._sections.gram
        kept = trimmed_components_of(gram, np.ones(len(gram), dtype=bool), count).kept
        maps, correlations, overlaps, left = [], [], [], []
        for split, half in enumerate(self._halves):
            fits = self._fit_both(split, min(components, self.most))
            more = self._fit_both(split, min(components + AGAIN, self.most))
            matched = [_match(products, norms, fit) for fit in (*fits, *more)]
            # Of each half, the worse of both numbers of components.
            similar = np.array([similarity for similarity, _ in matched])
            maps.append(similar.reshape(2, 2, count).min(axis=0))
            alike = [
                correlations_of(codes[kept], fit.codes[kept][:, partner])
                for fit, (_, partner) in zip(fits, matched[:2], strict=True)
            ]
            correlations.append(np.min(alike, axis=0))
            one, other = (fit.components.leading(count) for fit in fits)
            overlaps.append(np.square(one.weights.T @ gram @ other.weights).sum() / count)
            left.append(_left(gram, [(one, ~half & kept), (other, half & kept)]))
            report(progress, split + 1, self.splits)
        return FactorStability(
            half_similarity=np.array(maps),
            code_correlation=np.array(correlations),
            subspace_overlap=np.array(overlaps),
            held_out_variance=np.array(left),
            arch_of=arch_of(codes[kept]),
        )


def fields_among(model: Model, codes: Latents) -> Images:
    """``(L, H, W)``, the fields of a model's factors, averaged over some of the brains' codes."""
    around = np.unique(np.linspace(0, len(codes) - 1, AROUND).round().astype(int))
    return factor_fields(model, codes[around])


def random_halves(count: int, splits: int, seed: int) -> Iterator[npt.NDArray[np.bool_]]:
    """Yield which of the brains are in the first half of each split, ``(count,)`` bool."""
    rng = np.random.default_rng(seed)
    for _ in range(splits):
        half = np.zeros(count, dtype=bool)
        half[rng.permutation(count)[: count // 2]] = True
        yield half


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
    rows, partners = best_pairs(cosines)
    return cosines[rows, partners], partners


def best_pairs(alike: Matrix) -> tuple[npt.NDArray[np.intp], npt.NDArray[np.intp]]:
    """Rows and columns of ``(L, M)`` that go together, each once, so that they are most alike.

    Of the Hungarian method; where one side has more, those that are left over are not among them.
    """
    rows, columns = scipy.optimize.linear_sum_assignment(-np.asarray(alike))
    return rows, columns


def correlations_of(codes: Matrix, others: Matrix) -> Matrix:
    """Absolute correlations of columns; of a constant one zero."""
    a, b = codes - codes.mean(axis=0), others - others.mean(axis=0)
    size = np.linalg.norm(a, axis=0) * np.linalg.norm(b, axis=0)
    return np.asarray(np.abs((a * b).sum(axis=0)) / np.where(size > 0, size, np.inf))


def _left(gram: Matrix, held_out: list[tuple[Components, npt.NDArray[np.bool_]]]) -> float:
    parts = [(*components.residuals(gram), which) for components, which in held_out]
    left = sum(residual[which].sum() for residual, _, which in parts)
    return float(left / sum(energy[which].sum() for _, energy, which in parts))
