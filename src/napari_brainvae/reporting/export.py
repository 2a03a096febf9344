"""What the plugin and the commands write: the same files, with the same columns.

Results go into a folder (`results_folder`) with one ``record.json`` that says where they come from.
Figures and maps carry that in their metadata, too, and tables the checkpoint's fingerprint.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import tifffile

from napari_brainvae.arrays import Images
from napari_brainvae.atlas.atlas_section import AtlasSection, labels_and_tree
from napari_brainvae.atlas.regions import Region
from napari_brainvae.denoising.brain_table import with_covariates
from napari_brainvae.denoising.reconstruction import ome_metadata
from napari_brainvae.factors.cards import FactorCard
from napari_brainvae.factors.description import factor_table
from napari_brainvae.factors.field_options import LIMIT
from napari_brainvae.factors.impact import Impact
from napari_brainvae.factors.projective_field import PARTS
from napari_brainvae.factors.replication import replicated_of
from napari_brainvae.io.atomic_files import RECORD, filling, recover, replacing, write_text
from napari_brainvae.io.errors import InputError
from napari_brainvae.io.json_files import read_json
from napari_brainvae.io.progress import Progress, report
from napari_brainvae.metrics.disentanglement import reading
from napari_brainvae.reporting import paper_figures as figures
from napari_brainvae.reporting.field_figure import projective_fields
from napari_brainvae.reporting.provenance import Provenance
from napari_brainvae.reporting.section_axes import structure_outlines

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from napari_brainvae.reporting.html import Part


@dataclass(frozen=True, eq=False)
class Fields:
    """Projective fields, ready to be written.

    Attributes
    ----------
    maps
        ``(F, 3, H, W)`` from `projective_field`.
    factors
        Indices of the F factors, from 0.
    options
        How the factors were moved: ``start``, ``limit`` and ``z0``, as plain JSON data.
    pixel_size_um
        Side of a pixel, if known.
    tables
        By the name of the file, such as ``field_by_region``: what `field_by_region` says.
    section
        The atlas under the sections, for outlines, full names and the plane.
    """

    maps: Images
    factors: Sequence[int]
    options: Mapping[str, Any]
    pixel_size_um: float | None = None
    tables: Mapping[str, pd.DataFrame] = field(default_factory=dict)
    section: AtlasSection | None = None


@contextmanager
def results_folder(
    folder: str | Path, about: Provenance, *, overwrite: bool = False
) -> Iterator[Path]:
    """Give a folder to write results to; they appear in ``folder`` at the end, with their record.

    A folder's ``record.json`` says where all of it comes from, so that results of the same models
    and sections may be added to it, and no others.

    Parameters
    ----------
    about
        From `provenance`.
    overwrite
        Write over whatever is there.

    Raises
    ------
    InputError
        If ``folder`` holds the record of something else.
    """
    folder = recover(Path(folder).absolute())
    record = dict(about) if overwrite else _added_to(folder / RECORD, about)
    with filling(folder) as beside:
        yield beside
        write_text(beside / RECORD, json.dumps(record, indent=2) + "\n")


def _added_to(path: Path, about: Provenance) -> dict[str, Any]:
    """Give the record of a folder to which results are added."""
    if not path.exists():
        return dict(about)
    try:
        before: dict[str, Any] = read_json(path)
        same = _made_of(before) == _made_of(about)
        options, data = before["options"] | about["options"], before["data"] | about["data"]
    except (KeyError, TypeError, ValueError, AttributeError):  # no JSON, or of another shape
        same = False
    if not same:
        raise InputError(
            f"{path.parent} holds the record of something else than these models and sections: "
            "choose another folder"
        )
    return {**before, **about, "options": options, "data": data}


def _made_of(about: Provenance) -> list[str]:
    """Which models and which sections, by their fingerprints."""
    return [
        *(model["fingerprint"] for model in about["models"].values()),
        about["data"]["fingerprint"],
    ]


def export_impact(
    folder: Path,
    impacts: Mapping[str, Impact],
    about: Provenance,
    *,
    progress: Progress | None = None,
) -> None:
    """Write impact.csv, scores.csv, impact_matrix.csv, and the figures of Fig. 3B to 3E.

    Parameters
    ----------
    impacts
        By the name of the model; the first is shown in full.
    about
        From `provenance`; it describes these models.
    """
    tables = {
        "impact": {name: impact.table() for name, impact in impacts.items()},
        "scores": {name: _read_scores(impact) for name, impact in impacts.items()},
        "impact_matrix": {name: _wide(impact) for name, impact in impacts.items()},
    }
    for name, by_model in tables.items():
        table = pd.concat(by_model, names=["model"]).reset_index("model").reset_index(drop=True)
        write_table(table, folder / f"{name}.csv", about)
    panels = impact_figures(impacts, replicated=_replicated(about))
    for done, (name, draw) in enumerate(panels.items()):
        report(progress, done, len(panels))
        _write_figure(draw, folder / name, about)


def _read_scores(impact: Impact) -> pd.DataFrame:
    """Scores of disentanglement, and in words what is good in each and what it comes to."""
    table, factors = impact.scores(), impact.mean.shape[-1]
    rows = zip(table["score"], table["value"], table["low"], table["high"], strict=True)
    return table.assign(reading=[reading(*row, factors=factors) for row in rows])


def _wide(impact: Impact) -> pd.DataFrame:
    matrix = impact.matrix()
    table = pd.DataFrame(matrix, columns=[f"F{i + 1}" for i in range(matrix.shape[1])])
    table.insert(0, "region", impact.regions)
    return table


def export_regions(folder: Path, regions: Mapping[str, Region]) -> None:
    """Write regions/NAME.json, each a file that opens again."""
    for name, region in regions.items():
        region.save(folder / "regions" / f"{file_name(name)}.json")


def export_brain_table(
    folder: Path,
    brains: pd.DataFrame,
    associations: pd.DataFrame,
    about: Provenance,
    covariates: pd.DataFrame | None = None,
) -> None:
    """Write brains.csv, and covariates.csv with its figure if any covariate tells something.

    Parameters
    ----------
    brains
        From `brain_table`, by the first model that ``about`` describes.
    associations
        From `associate`; may have no rows.
    covariates
        What is known of the same brains, in their order: further columns of brains.csv.
    """
    if covariates is not None:
        brains = with_covariates(brains, covariates)
    write_table(brains.reset_index(), folder / "brains.csv", about)
    if len(associations):
        write_table(associations, folder / "covariates.csv", about)
        draw = partial(
            figures.association_heatmap,
            associations,
            model=_first_model(about),
            replicated=_replicated(about),
        )
        _write_figure(draw, folder / "covariates", about)


def export_fields(folder: Path, fields: Fields, about: Provenance) -> None:
    """Write projective_field.ome.tif, its tables by region, and the figure (Fig. 3A)."""
    path = folder / "projective_field.ome.tif"
    write_maps(path, fields.maps, fields.factors, fields.pixel_size_um, about)
    section = fields.section
    for name, table in fields.tables.items():
        full = table.assign(name=_full_names(table["region"], section))
        write_table(full, folder / f"{name}.csv", about)
    labels, tree = labels_and_tree(section)
    draw = partial(
        projective_fields,
        fields.maps,
        factors=fields.factors,
        outlines=None if labels is None else structure_outlines(labels, tree),
        limit=float(fields.options.get("limit", LIMIT)),
        pixel_size_um=fields.pixel_size_um,
        plane=section.plane if section else about.get("plane"),
        model=_first_model(about),
        replicated=_replicated(about),
    )
    _write_figure(draw, folder / "projective_fields", about)


def export_cards(
    folder: Path,
    cards: Sequence[FactorCard],
    about: Provenance,
    section: AtlasSection | None = None,
    *,
    progress: Progress | None = None,
) -> list[Part]:
    """Write factors.csv, a card of each factor, their maps, and report.html, which shows them.

    Parameters
    ----------
    cards
        From `factors.cards.factor_cards`, by the first model that ``about`` describes.
    section
        The atlas under the sections, for outlines.

    Returns
    -------
    list
        The parts of that report, for another one to lead with.
    """
    from napari_brainvae.reporting.factor_cards import card_parts, draw_cards
    from napari_brainvae.reporting.html import write_report

    labels, tree = labels_and_tree(section)
    table = factor_table([card.description for card in cards])
    write_table(table, folder / "factors.csv", about)
    write_card_maps(
        folder / "shape_and_brightness.ome.tif", cards, cards[0].parts.pixel_size_um, about
    )
    report(progress, 0, 2 * len(cards))
    with figures.MATPLOTLIB:
        drawn = draw_cards(
            cards, labels, tree, section.plane if section else about.get("plane"), _made_from(about)
        )
        for done, (name, figure) in enumerate(drawn.items(), start=len(cards)):
            report(progress, done, 2 * len(cards))
            figures.save_figure(figure, folder / name, about)
        parts = card_parts(cards, drawn.values())
        write_report(folder / "report.html", "What the factors are", parts)
    return parts


def write_table(table: pd.DataFrame, path: Path, about: Provenance) -> None:
    """Write a table as CSV; factors are called F1, F2 and so on, as everywhere.

    A column ``checkpoint`` has the model's fingerprint: of several models, that of the one that the
    column ``model`` names, else of the first. All else is in the folder's record.
    """
    if "factor" in table and pd.api.types.is_integer_dtype(table["factor"]):
        table = table.assign(factor=[f"F{number}" for number in table["factor"]])
    prints = {name: model["fingerprint"] for name, model in about["models"].items()}
    whose = table["model"].map(prints) if "model" in table else next(iter(prints.values()))
    with replacing(path) as beside:
        table.assign(checkpoint=whose).to_csv(beside, index=False)


def _first_model(about: Provenance) -> str:
    return str(next(iter(about.get("models", {})), ""))


def _made_from(about: Provenance) -> str:
    """Name the first model, and how many brains were measured by it."""
    measured = about.get("data", {}).get("measured", ())
    return _first_model(about) + f", codes of {len(measured)} brains" * bool(measured)


def _replicated(about: Provenance) -> npt.NDArray[np.bool_] | None:
    """Which factors of the first model come again, as its header says; None if nobody looked."""
    return replicated_of(next(iter(about.get("models", {}).values()), {}))


def _full_names(regions: pd.Series, section: AtlasSection | None) -> list[str]:
    """Names of structures in full, with their side if they have one; of drawn regions their own."""
    known = {} if section is None else {s.acronym: s.name for s in section.atlas}
    parted = [region.partition(" (") for region in regions]
    return [known.get(acronym, acronym) + bracket + side for acronym, bracket, side in parted]


def _write_figure(draw: Callable[[], Figure], stem: Path, about: Provenance) -> None:
    with figures.MATPLOTLIB:
        figures.save_figure(draw(), stem, about)


def write_maps(
    path: str | Path,
    maps: Images,
    factors: Sequence[int],
    pixel_size_um: float | None,
    about: Provenance,
    *,
    title: str = "Projective fields",
    channels: Sequence[str] = PARTS,
) -> None:
    """Write maps of factors ``(F, C, H, W)`` as an OME-TIFF in micrometres.

    ``factors`` are their indices from 0, ``channels`` the names of the C maps of each; ``about``
    goes into the file as JSON.
    """
    names = [f"F{factor + 1}" for factor in factors]
    text = f"{title}. {json.dumps(about, sort_keys=True)}"
    metadata = ome_metadata(pixel_size_um, text, "QCYX", what="factor", names=names)
    metadata["Channel"] = {"Name": channels}
    with replacing(path) as beside:
        tifffile.imwrite(beside, maps, ome=True, metadata=metadata)


def write_card_maps(
    path: str | Path,
    cards: Sequence[FactorCard],
    pixel_size_um: float | None,
    about: Provenance,
) -> None:
    """Write signed change, brightness and displacement of every factor as `write_maps` does."""
    maps = np.stack(
        [[card.change, card.parts.brightness, *card.parts.displacement] for card in cards]
    )
    write_maps(
        path,
        maps,
        range(len(cards)),
        pixel_size_um,
        about,
        title="Change per SD",
        channels=(
            "signed change",
            "relative brightness",
            "displacement in rows, px",
            "displacement in columns, px",
        ),
    )


def impact_figures(
    impacts: Mapping[str, Impact], *, replicated: npt.ArrayLike | None = None
) -> dict[str, Callable[[], Figure]]:
    """Give what draws each figure of impacts, by file: of a region the codes of its main factor.

    Parameters
    ----------
    impacts
        By the name of the model. The first is shown in full, the others in the comparison.
    replicated
        ``(L,)`` bool, which factors of the first come again; None if nobody looked.
    """
    model, impact = next(iter(impacts.items()))
    marked: dict[str, Any] = {"model": model, "replicated": replicated}
    draw: dict[str, Callable[[], Figure]] = {
        "impact": partial(figures.impact_heatmap, impact, **marked)
    }
    for region, factor in zip(impact.regions, impact.matrix().argmax(axis=1), strict=True):
        name = f"codes_{file_name(region)}_F{factor + 1}"
        draw[name] = partial(figures.impact_distributions, impact, region, int(factor), model=model)
    if min(impact.matrix().shape) > 1:
        draw["factor_covariance"] = partial(figures.factor_covariance, impact, **marked)
        draw["disentanglement"] = partial(figures.disentanglement_bars, impacts)
    return draw


def file_name(name: str) -> str:
    """Give a name that every file system takes."""
    return "".join(c if c.isalnum() or c in " -_()" else "_" for c in name).strip()
