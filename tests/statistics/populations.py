"""Populations of codes with a planted truth: a confound that goes with the group."""

from __future__ import annotations

import numpy as np
import pandas as pd

FACTORS = 8
CONFOUNDED = 2
"""Factors that the confound drives."""


def simulate(rng, brains=100, together=0.5, partial_r=0.0, effects=1):
    """Codes ``(n, 8)`` and covariates: the confound correlates with the group, drives F1 and F2.

    ``partial_r`` is the population's partial correlation of F8, or of as many last factors as
    ``effects`` says, with the group, given the confound.
    """
    # A threshold at 0 takes a normal variable's correlation down by sqrt(2 / pi).
    confound = rng.standard_normal(brains)
    within = together / np.sqrt(2 / np.pi)
    latent = within * confound + np.sqrt(1 - within**2) * rng.standard_normal(brains)
    group = latent > 0
    codes = rng.standard_normal((brains, FACTORS))
    codes[:, :CONFOUNDED] += confound[:, None]
    # What the group has beyond the confound has the variance (1 - r^2) / 4.
    beyond = np.sqrt((1 - together**2) / 4)
    codes[:, -effects:] += (partial_r / np.sqrt(1 - partial_r**2) / beyond * group)[:, None]
    covariates = pd.DataFrame({"group": np.where(group, "ko", "wt"), "age": confound})
    return pd.DataFrame(codes, columns=[f"F{i + 1}" for i in range(FACTORS)]), covariates
