"""``python -m training.interpret``: what each latent factor sees and what it draws, headless."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from pydantic import Field, field_validator
from pydantic_settings import CliPositionalArg

from napari_brainvae.factors.perturbation import ImpactOptions
from napari_brainvae.io.atomic_files import replacing, write_text
from napari_brainvae.io.errors import InputError
from training.cli import main

if TYPE_CHECKING:  # torch and all that follows wait until there is something to interpret
    import pandas as pd
    from matplotlib.figure import Figure

    from napari_brainvae.arrays import Images, Labels, Mask
    from napari_brainvae.atlas.atlas import Atlas
    from napari_brainvae.data.population import Population
    from napari_brainvae.factors.cards import FactorCard
    from napari_brainvae.factors.impact import Impact
    from napari_brainvae.models.base import Model


class InterpretOptions(ImpactOptions):
    """Measure which regions drive each latent factor, and where each factor acts.

    Writes to the output folder: brains.csv (latent factors of each brain, and how unusual it is),
    covariates.csv (which factors go with what is known of the brains), impact.csv, scores.csv,
    field_by_region.csv, field_by_structure.csv, factors.csv (each factor in numbers and in a
    sentence), a card of each factor, the panels of the paper's Fig. 3 and of the covariates as PNG
    and SVG, projective_field.ome.tif and shape_and_brightness.ome.tif, record.json, and
    report.html, which leads with the cards. The first model is interpreted in full; all of them are
    compared by their disentanglement.
    """

    population: CliPositionalArg[Path] = Field(
        description="Sections of many brains: .zarr, .npz (array 'images'), .npy or a TIFF stack."
    )
    model: list[Path] = Field(
        min_length=1,
        description="Checkpoint to interpret; repeat the flag for others to compare it with, such "
        "as a VAE (beta 1) and a PCA.",
    )
    out: Path = Field(description="Folder for the results; new or empty.")
    atlas: Path | None = Field(
        None,
        description="Atlas directory. By default POPULATION.atlas beside the population, which is "
        "what a drawn phantom has.",
    )
    regions: list[str] = Field(
        ["SSp", "RSP", "HPF", "STR", "TH", "HY"],
        min_length=1,
        description="Structures of the atlas, by acronym: A,B,C.",
    )
    side: Literal["both", "left", "right"] = Field(
        "both", description="Side of the animal that the structures are taken from."
    )
    region_file: list[Path] = Field(
        [], description="A drawn region, as the plugin saves it; repeat the flag for more."
    )
    plane: int | None = Field(
        None, ge=0, description="Coronal plane of the atlas; needed where no file says it."
    )
    pixel_size_um: float | None = Field(
        None, gt=0, description="Side of a pixel, um; needed where no file says it."
    )
    covariates: Path | None = Field(
        None,
        description="What is known of the brains: a .csv whose column 'id' names them. By default "
        "what the population file says.",
    )
    tolerance: float = Field(
        1e-3, gt=0, lt=1, description="Accuracy of the projective fields, share of their maximum."
    )
    overwrite: bool = Field(
        False, description="Write into a folder that holds files, and over those of the same name."
    )

    @field_validator("model", "regions", "region_file")
    @classmethod
    def _distinct(cls, values: list[Any]) -> list[Any]:
        for value in values:
            if values.count(value) > 1:
                raise InputError(f"{value} is given twice")
        return values


@dataclass(frozen=True)
class Place:
    """Where the population's sections lie in an atlas, as far as is known."""

    shape: tuple[int, int]
    pixel_size_um: float | None
    plane: int | None
    atlas: Atlas | None

    @cached_property
    def labels(self) -> Labels | None:
        """``(H, W)`` structure ids under the sections."""
        if self.atlas is None or self.plane is None or self.pixel_size_um is None:
            return None
        return self.atlas.section(self.plane, self.shape, self.pixel_size_um)

    def structures(self) -> dict[str, Mask]:
        """Every structure that the annotation shows here, by acronym."""
        if self.atlas is None or self.labels is None:
            return {}
        here = set(self.labels.ravel().tolist())
        return {s.acronym: self.labels == s.id for s in self.atlas if s.id in here}


def interpret(options: InterpretOptions) -> None:
    """Run `training.interpret` with these options.

    Raises
    ------
    ValueError, OSError
        For bad input, before anything is written.
    """
    from napari_brainvae.data.population import Population
    from napari_brainvae.denoising.brain_table import brain_table, factors_of
    from napari_brainvae.factors.cards import factor_cards
    from napari_brainvae.factors.impact import impact_matrix, usable_sections
    from napari_brainvae.factors.projective_field import projective_field
    from napari_brainvae.models.checkpoint import load_checkpoint
    from napari_brainvae.statistics.association import associate, read_covariates

    out = options.out
    if out.exists() and not out.is_dir():
        raise NotADirectoryError(f"{out} is a file, not a folder for results")
    if out.exists() and any(out.iterdir()) and not options.overwrite:
        raise FileExistsError(f"{out} is not empty: give another folder, or --overwrite")
    population = Population.open(options.population)
    models = name_models({path: load_checkpoint(path) for path in options.model})
    model = next(iter(models.values()))
    covariates = population.covariates
    if options.covariates is not None:
        covariates = read_covariates(options.covariates, population.ids)
    place = locate(options, population, model)
    regions = choose_regions(options, place)
    sections = usable_sections(population, include_flagged=options.include_flagged)
    plain = ImpactOptions(**options.model_dump(include=set(ImpactOptions.model_fields)))

    impacts = {}
    if not regions:
        print("no regions, so no impacts: give --atlas, or --region-file for drawn ones")
    for name, each in models.items() if regions else ():
        with _bar(f"impact, {name}") as progress:
            impacts[name] = impact_matrix(
                each, population, regions, plain, sections=sections, progress=progress
            )
    with _bar("projective fields") as progress:
        maps = projective_field(model, tolerance=options.tolerance, progress=progress)
    with _bar("brains") as progress:
        brains = brain_table(model, population, progress=progress)
    codes = factors_of(brains).iloc[sections]
    associations = associate(codes, covariates)
    with _bar("factors", "factor") as progress:
        cards = factor_cards(
            model,
            labels=place.labels,
            tree=place.atlas,
            pixel_size_um=place.pixel_size_um,
            codes=codes,
            associations=associations,
            progress=progress,
        )

    about = describe_all(options, population, models, place, sections)
    Findings(impacts, maps, brains, associations, cards, place, regions, about).write(out)
    print(f"results: {out}")


def name_models(models: Mapping[Path, Model]) -> dict[str, Model]:
    """Short names to show: PCA, VAE (beta 1), beta-VAE, with the file where that is not enough.

    Raises
    ------
    ValueError
        If the models are not for sections of one size.
    """
    first = next(iter(models.values()))
    kinds = {}
    for path, model in models.items():
        if model.shape != first.shape:
            raise InputError(f"{path} is for sections of {model.shape} px, not {first.shape}")
        beta = model.header.training.get("options", {}).get("beta")
        kinds[path] = "PCA" if model.header.kind == "pca" else "VAE" if beta == 1 else "beta-VAE"
    alike = list(kinds.values())
    return {
        kind if alike.count(kind) == 1 else f"{kind} {path}": models[path]
        for path, kind in kinds.items()
    }


def locate(options: InterpretOptions, population: Population, model: Model) -> Place:
    """Find the atlas, and the population's plane and pixel size in it.

    Raises
    ------
    ValueError, OSError
        If there is an atlas but not the plane or the pixel size.
    """
    from napari_brainvae.atlas.atlas import Atlas

    known, header = population.description, model.header
    pixel_size_um = options.pixel_size_um or known.pixel_size_um or header.pixel_size_um
    planes = (options.plane, known.plane, header.plane)
    plane = next((plane for plane in planes if plane is not None), None)
    beside = options.population.with_suffix(".atlas")
    directory = options.atlas or (beside if beside.is_dir() else None)
    if directory is None:
        return Place(model.shape, pixel_size_um, plane, None)
    if plane is None:
        raise InputError("neither population nor model says its plane of the atlas: give --plane")
    if pixel_size_um is None:
        raise InputError("neither population nor model says its pixel size: give --pixel-size-um")
    return Place(model.shape, pixel_size_um, plane, Atlas.open(directory))


def choose_regions(options: InterpretOptions, place: Place) -> dict[str, Mask]:
    """Masks of the atlas structures and of the drawn regions; none without an atlas and a file.

    Raises
    ------
    ValueError, OSError
        If one that was asked for is not there, or a name stands for two.
    """
    from napari_brainvae.atlas.regions import Region, atlas_regions

    regions: dict[str, Mask] = {}
    if place.atlas is not None:
        assert place.plane is not None and place.pixel_size_um is not None  # by `locate`
        regions = atlas_regions(
            place.atlas,
            options.regions,
            place.plane,
            place.shape,
            place.pixel_size_um,
            options.side,
        )
    elif "regions" in options.model_fields_set:
        raise InputError(f"the regions {', '.join(options.regions)} need --atlas")
    for path in options.region_file:
        region = Region.load(path)
        if region.name in regions:
            raise InputError(f"two regions are called {region.name!r}")
        regions[region.name] = region.to_mask(place.shape, place.pixel_size_um)
    return regions


def describe_all(
    options: InterpretOptions,
    population: Population,
    models: Mapping[str, Model],
    place: Place,
    sections: Sequence[int],
) -> dict[str, Any]:
    """All that decides the results; goes into record.json and every figure."""
    from importlib.metadata import version

    from napari_brainvae.models.checkpoint import describe

    packages = ("napari-brainvae", "torch", "numpy", "scipy", "scikit-image", "matplotlib")
    return {
        "options": options.model_dump(mode="json", exclude={"out", "overwrite"}),
        "versions": {name: version(name) for name in packages},
        "data": {
            "sections": len(population),
            "measured": [population.ids[i] for i in sections],
            "fingerprint": population.fingerprint(),
        },
        "plane": place.plane,
        "pixel_size_um": place.pixel_size_um,
        "atlas": None if place.atlas is None else str(place.atlas.directory),
        "models": {name: describe(model) for name, model in models.items()},
    }


@dataclass(frozen=True, eq=False)
class Findings:
    """What was measured, ready to be written.

    Attributes
    ----------
    impacts
        Of every model, by name; none without regions.
    maps
        ``(L, 3, H, W)`` projective fields of the first model.
    brains
        What `brain_table` says by the first model.
    associations
        What `associate` says of its factors; may have no rows.
    cards
        One for each of its factors.
    place, regions
        Where the sections lie in the atlas; masks ``(H, W)`` by name.
    about
        From `describe_all`.
    """

    impacts: Mapping[str, Impact]
    maps: Images
    brains: pd.DataFrame
    associations: pd.DataFrame
    cards: Sequence[FactorCard]
    place: Place
    regions: Mapping[str, Mask]
    about: Mapping[str, Any]

    def write(self, out: Path) -> None:
        """Write tables, maps, figures, the record and the report to a folder."""
        from napari_brainvae.reporting.export import write_card_maps, write_maps
        from napari_brainvae.reporting.factor_cards import draw_cards
        from napari_brainvae.reporting.html import write_report
        from napari_brainvae.reporting.paper_figures import save_figure

        tables, size = self.tables(), self.place.pixel_size_um
        for name, table in tables.items():
            with replacing(out / name) as beside:
                table.to_csv(beside, index=False)
        maps = out / "projective_field.ome.tif"
        write_maps(maps, self.maps, range(len(self.maps)), size, self.about)
        write_card_maps(out / "shape_and_brightness.ome.tif", self.cards, size, self.about)
        cards = draw_cards(self.cards, self.place.labels, self.place.atlas)
        figures = self.figures()
        for name, figure in (cards | figures).items():
            save_figure(figure, out / name, self.about)
        write_text(out / "record.json", json.dumps(self.about, indent=2) + "\n")
        parts = _report_parts(self.cards, cards, tables["factors.csv"], figures)
        write_report(out / "report.html", "What the factors are", parts)

    def tables(self) -> dict[str, pd.DataFrame]:
        """Impacts and scores of every model; the first one's brains and fields by region."""
        import pandas as pd

        from napari_brainvae.factors.description import factor_table
        from napari_brainvae.factors.projective_field import field_by_region

        labels = self.place.labels
        tissue = None if labels is None else labels > 0
        tables = {
            "brains.csv": self.brains.reset_index(),
            "factors.csv": factor_table([card.description for card in self.cards]),
        }
        if len(self.associations):
            tables["covariates.csv"] = self.associations
        if self.regions:
            of_models = {
                "impact.csv": {name: impact.table() for name, impact in self.impacts.items()},
                "scores.csv": {name: impact.scores() for name, impact in self.impacts.items()},
            }
            tables |= {
                name: pd.concat(each, names=["model"]).reset_index("model").reset_index(drop=True)
                for name, each in of_models.items()
            }
            tables["field_by_region.csv"] = field_by_region(self.maps, self.regions, tissue=tissue)
        if labels is not None:
            structures = field_by_region(self.maps, self.place.structures(), tissue=tissue)
            tables["field_by_structure.csv"] = structures
        return tables

    def figures(self) -> dict[str, Figure]:
        """Fig. 3 of the paper, 3C for the factor that each region has most impact on, and more."""
        from napari_brainvae.atlas.atlas import outlines
        from napari_brainvae.reporting.export import impact_figures
        from napari_brainvae.reporting.paper_figures import association_heatmap, projective_fields

        labels = self.place.labels
        borders = None if labels is None else outlines(labels)
        panels = impact_figures(self.impacts) if self.regions else {}
        drawn = {name: draw() for name, draw in panels.items()}
        if len(self.associations):
            drawn["covariates"] = association_heatmap(self.associations)
        return drawn | {"projective_fields": projective_fields(self.maps, outlines=borders)}


def _report_parts(
    cards: Sequence[FactorCard],
    drawn: Mapping[str, Figure],
    table: pd.DataFrame,
    figures: Mapping[str, Figure],
) -> list[tuple[str, str, Any]]:
    """Lead with the cards; what they are made of follows."""
    told = [card.description for card in cards]
    parts: list[tuple[str, str, Any]] = [
        (f"{each.factor}: {each.name}", "", figure)
        for each, figure in zip(told, drawn.values(), strict=True)
    ]
    shown = ["factor", "name", "direction", "displacement_um", "brightness_percent"]
    shown += ["displacement_share", "brightness_share", "replicated", "kl"]
    text = "Per standard deviation of the factor; all columns are in factors.csv."
    parts.append(("All factors", text, table[shown].set_index("factor").round(2)))
    return parts + [(name.replace("_", " "), "", figure) for name, figure in figures.items()]


@contextmanager
def _bar(text: str, unit: str = "section") -> Iterator[Callable[[int, int], None]]:
    from tqdm import tqdm

    with tqdm(desc=text, unit=unit, mininterval=0.5) as bar:

        def progress(done: int, total: int) -> None:
            bar.total = total
            bar.update(done - bar.n)

        yield progress


if __name__ == "__main__":
    main(InterpretOptions, interpret, program="python -m training.interpret")
