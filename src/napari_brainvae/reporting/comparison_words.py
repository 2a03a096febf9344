"""What a comparison found, in plain words that claim no more than it may."""

from __future__ import annotations

import math
from collections.abc import Sequence

import pandas as pd

from napari_brainvae.statistics.comparison import Effects
from napari_brainvae.statistics.permutation import ALPHA
from napari_brainvae.statistics.study import Compared, Study

MOST_NAMED = 6
"""Regions in a sentence; the table has them all."""


def summary(study: Study, table: pd.DataFrame) -> dict[str, str]:
    """Say what differs, what may have been missed, and what cannot be said, by its heading.

    Parameters
    ----------
    table
        From `comparison_table`.
    """
    said = {}
    if study.warnings:
        said["Note"] = " ".join(f"{each[0].upper()}{each[1:]}." for each in study.warnings)
    for by, compared in study.compared.items():
        sentences = [_who(compared), *_factors(compared.factors, table[table["by"] == by])]
        said[f"{by}, in short"] = " ".join([*sentences, *_regions(compared), *_pixels(compared)])
    said["What this does not say"] = _caution(study, table)
    return said


def _who(compared: Compared) -> str:
    design = compared.design
    first, second = design.sizes
    out = f", with {', '.join(design.adjusted)} taken out" if design.adjusted else ""
    if design.groups is None:
        return f"What goes with {design.by} in {first} brains{out}."
    a, b = design.groups
    return f"{a} ({first}) against {b} ({second}) by {design.by}{out}."


def _factors(effects: Effects, rows: pd.DataFrame) -> list[str]:
    found = rows[rows["p_fwe"] <= ALPHA]
    follows = found["goes_with"].notna()
    said = [_factor(effects, row) for _, row in found[~follows].iterrows()]
    said += [_follower(row) for _, row in found[follows].iterrows()]
    if not said:
        least = rows["p_fwe"].min()
        said = [
            f"No factor differs by more than chance explains (smallest corrected p {least:.2g})."
        ]
    if math.isinf(effects.smallest):
        return [*said, "There are too few brains, or orders of them, for any effect to be found."]
    return [
        *said,
        f"An effect smaller than {effects.measure} {effects.smallest:.2g} is missed by more than "
        f"one such study in five, corrected over {_count(effects)}"
        f"{_alone(effects)}: what is not found is not shown to be absent.",
    ]


def _count(effects: Effects) -> str:
    count = len(effects.names)
    return "1 factor" if count == 1 else f"{count} factors"


def _alone(effects: Effects) -> str:
    """What a factor would have to be that was named beforehand; nothing if there is but one."""
    if len(effects.names) == 1:
        return ""
    return f" ({effects.smallest_alone:.2g} of a factor that was chosen beforehand)"


def _follower(row: pd.Series) -> str:
    """Say that a factor differs, but not of its own."""
    together = f"{row['goes_with']} (r = {row['r_with']:+.2f}, groups apart)"
    return (
        f"{row['factor']} goes with {together} and acts where it does: beyond what is named above "
        f"it differs by no more than chance explains (p = {row['p_beyond']:.2g})."
    )


def _factor(effects: Effects, row: pd.Series) -> str:
    name = f" ({row['name']}, {row['direction']})" if isinstance(row.get("name"), str) else ""
    size = f"{row['effect']:+.2f} [{row['low']:+.2f}, {row['high']:+.2f}]"
    p = f"p = {row['p_fwe']:.2g}, corrected over {_count(effects)}"
    groups = effects.design.groups
    if groups is None:
        way = "rises" if row["effect"] > 0 else "falls"
        text = f"{row['factor']}{name} {way} with {effects.design.by}: partial r {size}; {p}"
    else:
        way = "higher" if row["effect"] > 0 else "lower"
        text = f"{row['factor']}{name} is {way} in {groups[0]}: {size} SD; {p}"
    if pd.notna(row.get("brightness_percent")):
        text += f"; alone it changes brightness by up to {row['brightness_percent']:+.2g} %"
        if pd.notna(row.get("displacement_um")):
            text += f" and displaces tissue by up to {row['displacement_um']:.2g} µm"
    if row["p_beyond"] > ALPHA:
        text += (
            "; it acts in another place than the others, but these brains' codes alone cannot tell "
            f"its difference from theirs (p = {row['p_beyond']:.2g})"
        )
    if pd.notna(row.get("replicated")) and not row["replicated"]:
        text += "; this factor did not come again in other brains, so take it for a hint"
    return text + "."


def _regions(compared: Compared) -> list[str]:
    effects = compared.regions
    if effects is None:
        return []
    rows = effects.table("region")
    found = rows[rows["p_fwe"] <= ALPHA]
    if found.empty:
        return ["No region differs in brightness or size, corrected for all of them."]
    said = []
    for what, more, less in (("brightness", "brighter", "darker"), ("size", "larger", "smaller")):
        mine = found[found["region"].str.endswith(f" {what}")]
        for word, part in ((more, mine[mine["effect"] > 0]), (less, mine[mine["effect"] < 0])):
            if len(part):
                said.append(f"{word.capitalize()}: {_listed(part, what)}.")
    moved = compared.difference.data_parts
    far = moved.displacement_peak_um
    size = f"{moved.displacement_peak:.2g} px" if far is None else f"{far:.2g} µm"
    return [*said, f"Tissue is displaced by up to {size} between the adjusted means."]


def _listed(rows: pd.DataFrame, what: str) -> str:
    order = rows["effect"].abs().sort_values(ascending=False, kind="stable").index
    names = [
        f"{row['region'].removesuffix(f' {what}')} {row['difference']:+.2g} % "
        f"[{row['difference_low']:+.2g}, {row['difference_high']:+.2g}]"
        for _, row in rows.loc[order[:MOST_NAMED]].iterrows()
    ]
    more = len(rows) - len(names)
    return ", ".join([*names, *([f"and {more} more"] if more > 0 else [])])


def _pixels(compared: Compared) -> list[str]:
    found = compared.difference
    if found.t is None:
        return []
    count = int(found.found.sum())
    if not count:
        return ["No single pixel of the sections differs, corrected for all of them."]
    differ = "pixel of the sections differs" if count == 1 else "pixels of the sections differ"
    return [f"{count} {differ}, corrected for all of them (max-t)."]


def _caution(study: Study, table: pd.DataFrame) -> str:
    said = "What goes with a covariate need not be caused by it, and "
    if any(each.design.adjusted for each in study.compared.values()):
        said += "only what is named was taken out."
    else:
        said += "nothing was taken out: whatever else goes with it, such as age, may lie behind it."
    if table["replicated"].isna().all():
        said += " Whether these factors come again in other brains was not examined."
    repaired = int(study.brains.repaired.sum())
    if repaired:
        are = "brain is an outlier" if repaired == 1 else "brains are outliers"
        said += f" {repaired} {are} of the model, repaired before anything was compared."
    return said


def headline(study: Study, table: pd.DataFrame) -> Sequence[str]:
    """Give one line a covariate, for a status line or a terminal."""
    lines = []
    for by, compared in study.compared.items():
        rows = table[(table["by"] == by) & (table["p_fwe"] <= ALPHA)]
        follows = rows["goes_with"].notna()
        names = ", ".join(rows.loc[~follows, "factor"]) or "no factor"
        more = [
            f"; {row['factor']} goes with {row['goes_with']}" for _, row in rows[follows].iterrows()
        ]
        effects = compared.factors
        least = (
            "too few brains to find any effect"
            if math.isinf(effects.smallest)
            else f"found four times in five: {effects.measure} {effects.smallest:.2g} or more"
        )
        lines.append(
            f"{by}, {compared.design.contrast}: {names} at family-wise p <= {ALPHA:g}"
            f"{''.join(more)} ({least}, corrected over {_count(effects)})"
        )
    return lines
