"""A factor that only says how far another one went: the arch effect.

A linear model needs several components for one change that is not linear: tissue that moves further
than its edges are wide adds, in brains at both ends, a component of its own, whose code is a
parabola of the first one's. Ordination knows it as the arch or horseshoe effect (Guttman 1953;
Diaconis, Goel & Holmes, Ann. Appl. Stat. 2008). It comes again in other brains, and yet it is no
further way in which brains differ.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import scipy  # whose modules are imported when they are first used

ARCH = 0.2
"""Share of a code's variance that a parabola and a cubic of a stronger one explain in an arch: on
phantoms 0.35 to 0.84 (cortical thickness), at most 0.16 among other factors."""

BY_CHANCE = 1e-4


def arch_of(codes: npt.ArrayLike) -> npt.NDArray[np.intp]:
    """Say of each factor whose arch it is.

    Parameters
    ----------
    codes
        ``(N, L)``, a column a factor, the strongest first.

    Returns
    -------
    ndarray
        ``(L,)`` int, the number of the stronger factor of whose square and cube, beyond a line, the
        code is largely made; -1 for a factor that stands for itself.
    """
    values = np.asarray(codes, dtype=np.float64)
    n, count = values.shape
    found = np.full(count, -1)
    if n < 8:
        return found
    spread = values.std(axis=0)
    z = (values - values.mean(axis=0)) / np.where(spread > 0, spread, np.inf)
    # What chance explains by two polynomials is a Beta variable: of few brains more is asked.
    least = max(ARCH, float(scipy.stats.beta.isf(BY_CHANCE / count**2, 1, (n - 4) / 2)))
    for j in range(count - 1):
        if found[j] >= 0 or spread[j] == 0:
            continue
        basis, _ = np.linalg.qr(np.stack([np.ones(n), z[:, j], z[:, j] ** 2, z[:, j] ** 3], axis=1))
        explained = np.square(basis[:, 2:].T @ z[:, j + 1 :]).sum(axis=0) / n
        arches = np.flatnonzero((explained >= least) & (found[j + 1 :] < 0)) + j + 1
        found[arches] = j
    return found
