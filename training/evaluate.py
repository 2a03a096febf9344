"""``python -m training.evaluate``: which model is better, and by how much."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel, Field
from pydantic_settings import CliPositionalArg

from training.cli import main

if TYPE_CHECKING:
    import pandas as pd

    from napari_brainvae.model import Model
    from napari_brainvae.population import Population
    from napari_brainvae.preprocess import Images


class EvaluateOptions(BaseModel):
    """Compare models on the brains that none of them was fitted on.

    Beside the models stand the mean section and a PCA with as many factors, both fitted on the
    brains that the first model was fitted on. Where a population knows its truth (a phantom), the
    reconstructions are also held against the clean sections, by class of artifact.
    """

    population: CliPositionalArg[Path] = Field(description="The population the models know.")
    model: list[Path] = Field(min_length=1, description="Checkpoint; give it several times.")
    out: Path = Field(description="Folder for the results; new or empty.")
    resamples: int = Field(
        1000, ge=10, description="Bootstrap resamples of the brains for the 95 % intervals."
    )
    seed: int = Field(0, ge=0, description="Of the resampling.")


def evaluate(options: EvaluateOptions) -> pd.DataFrame:
    """Run `training.evaluate` with these options.

    Raises
    ------
    ValueError, OSError
        For bad input, before anything is written.
    """
    from napari_brainvae.checkpoint import load_checkpoint
    from napari_brainvae.files import replacing
    from napari_brainvae.population import Population

    if options.out.exists() and (not options.out.is_dir() or any(options.out.iterdir())):
        raise FileExistsError(f"{options.out} is not an empty folder: give another")
    population = Population.open(options.population)
    models = {_name(path): load_checkpoint(path) for path in options.model}
    held_out = held_out_sections(population, list(models.values()))
    models = baselines(population, next(iter(models.values())), held_out) | models
    table = squared_errors(options, population, held_out, models)
    options.out.mkdir(parents=True, exist_ok=True)
    with replacing(options.out / "metrics.csv") as beside:
        table.to_csv(beside, index=False)
    print(f"{len(held_out)} held-out brains; squared error per pixel, x 1e-4, 95 % interval:")
    print(readable(table).to_string())
    return table


def _name(path: Path) -> str:
    """Name a model by its file, or by its run folder where files are all called 'model'."""
    return path.parent.name if path.stem == "model" else path.stem


def held_out_sections(population: Population, models: list[Model]) -> list[int]:
    """Positions of the brains that no model was fitted on.

    Raises
    ------
    ValueError
        If there are none.
    """
    unseen = set(population.ids)
    for model in models:
        unseen &= set(model.header.training.get("held_out", population.ids))
    if not unseen:
        raise ValueError("the models have no held-out brain in common")
    return [i for i, brain in enumerate(population.ids) if brain in unseen]


def baselines(population: Population, model: Model, held_out: list[int]) -> dict[str, Model]:
    """Mean section and PCA with L factors, fitted on what ``model`` was fitted on."""
    import numpy as np

    from napari_brainvae.pca import PCA

    seen = sorted(set(range(len(population))) - set(held_out))
    sections = population.prepared(model.header.preprocessing, seen)
    pca = PCA.fit(sections, model.latent_dim, preprocessing=model.header.preprocessing)
    mean = PCA(pca.header, pca.mean, 0 * pca.components, np.ones_like(pca.eigenvalues))
    return {"mean section": mean, f"PCA-{model.latent_dim}": pca}


def squared_errors(
    options: EvaluateOptions,
    population: Population,
    held_out: list[int],
    models: dict[str, Model],
) -> pd.DataFrame:
    """Squared error per pixel of each model's reconstructions, in long form with intervals."""
    import numpy as np
    import pandas as pd

    from napari_brainvae.model import squared_error

    rows: list[dict[str, Any]] = []
    for name, model in models.items():
        sections = population.prepared(model.header.preprocessing, held_out)
        drawn = model.reconstruct(sections)
        classes = {"as it is": squared_error(sections, drawn)}
        clean, artifact = truth(options.population, model, held_out)
        if clean is not None:
            against_clean = squared_error(clean, drawn)
            for kind in np.unique(artifact):
                classes[f"clean truth, {kind}"] = against_clean[artifact == kind]
        for kind, values in classes.items():
            low, high = bootstrap(values, options.resamples, options.seed)
            rows.append(
                {
                    "model": name,
                    "metric": "squared error",
                    "class": kind,
                    "count": len(values),
                    "value": values.mean(),
                    "low": low,
                    "high": high,
                }
            )
    return pd.DataFrame(rows)


def truth(path: Path, model: Model, index: list[int]) -> tuple[Images | None, Any]:
    """Clean sections as the model would see them, and artifact classes, if the file has them."""
    import zarr

    if path.suffix != ".zarr":
        return None, None
    store = zarr.open(path, mode="r")
    if not isinstance(store, zarr.Group) or "truth" not in store:
        return None, None
    clean = model.header.preprocessing.apply(store["truth/clean"].oindex[index])
    return clean, store["truth/artifact"][:][index].astype(object)


def bootstrap(values: Any, resamples: int, seed: int) -> tuple[float, float]:
    """Percentile interval, 95 %, of a mean over brains."""
    import numpy as np

    chosen = np.random.default_rng(seed).integers(len(values), size=(resamples, len(values)))
    low, high = np.percentile(values[chosen].mean(axis=1), [2.5, 97.5])
    return float(low), float(high)


def readable(table: pd.DataFrame) -> pd.DataFrame:
    """Models x classes, each cell a value with its interval."""
    cells = table.assign(
        cell=[
            f"{1e4 * v:.2f} [{1e4 * a:.2f}, {1e4 * b:.2f}]"
            for v, a, b in table[["value", "low", "high"]].to_numpy()
        ]
    )
    wide = cells.pivot(index="model", columns="class", values="cell")
    return wide.loc[table["model"].unique(), table["class"].unique()].rename_axis(
        index=None, columns=None
    )


if __name__ == "__main__":
    main(EvaluateOptions, evaluate, program="python -m training.evaluate")
