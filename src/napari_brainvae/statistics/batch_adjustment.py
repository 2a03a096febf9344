"""What a comparison does about its batches: say what they explain, take them out, harmonize."""

from __future__ import annotations

import numpy as np
import pandas as pd

from napari_brainvae.statistics.batch import (
    combat,
    entanglement,
    entanglement_warning,
    variance_explained,
)
from napari_brainvae.statistics.comparison_options import ComparisonOptions
from napari_brainvae.statistics.design import Design, make_design, missing


def warnings_of_batches(
    covariates: pd.DataFrame, options: ComparisonOptions
) -> tuple[list[str], dict[str, list[str]]]:
    """Say what goes with the batches; for each covariate, what is taken out."""
    warnings, adjust = [], {}
    for by in options.by:
        adjust[by] = list(options.adjust)
        for name in options.batch:
            if name in options.adjust or name == options.blocks:
                continue
            plain = make_design(covariates, by, groups=options.groups, adjust=[])
            batch = _known_batch(covariates, name, plain)
            if text := entanglement_warning(by, plain.tested[batch.notna()], batch.dropna()):
                warnings.append(text)
            if entanglement(plain.tested[batch.notna()], batch.dropna()) < 1 - 1e-9:
                adjust[by].append(name)
    return warnings, adjust


def _known_batch(covariates: pd.DataFrame, name: str, design: Design) -> pd.Series:
    if name not in covariates:
        make_design(covariates, design.by, groups=design.groups or (), adjust=[name])
    batch = covariates[name].iloc[design.brains].astype(object)
    return batch.mask(missing(covariates[name].iloc[design.brains]))


def harmonized(
    codes: pd.DataFrame, covariates: pd.DataFrame, design: Design, options: ComparisonOptions
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Codes, by ComBat if that was asked for; what the batches explain before and after."""
    kept = [name for name in options.adjust if name not in options.batch]
    plain = make_design(
        covariates.iloc[design.brains], design.by, groups=options.groups, adjust=kept
    )
    preserve, before = np.column_stack([plain.tested, plain.confounds]), codes
    rows = []
    for number, name in enumerate(options.batch):
        batch = covariates[name].iloc[design.brains]
        known = ~missing(batch)
        these = design.brains[known]
        if options.harmonize and number == 0:
            codes = codes.copy()
            codes.iloc[these] = combat(codes.iloc[these], batch[known], preserve[known])
        share, p = variance_explained(before.iloc[these], batch[known], preserve[known])
        left, _ = variance_explained(codes.iloc[these], batch[known], preserve[known])
        after = left if options.harmonize else np.full_like(left, np.nan)
        of_batch = zip(codes.columns, share, p, after, strict=True)
        rows += [(factor, name, design.by, *each) for factor, *each in of_batch]
    return codes, pd.DataFrame(rows, columns=["factor", "batch", "by", "before", "p", "after"])
