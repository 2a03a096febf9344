"""What artifact augmentation and robust inference are worth, on clean truth and over seeds.

    python benchmarks/denoising.py --out results.csv --seeds 5
    python benchmarks/denoising.py --out results-real.csv --seeds 5 --atlas ../shared/data/ccf

For each seed: a phantom population to fit (a fifth of the brains with an artifact, as usual), and
other brains to test on, a quarter of each class. One model is fitted to the sections as they come
(recipe fast), one with augmentation; each is asked plainly and with robust inference; PCA stands
beside, asked both ways too. Squared error per pixel against the clean truth. The table is over
seeds; a seed whose rows are in the file already is not done again.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import platform
import tempfile
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import stats

from napari_brainvae.artifacts import ARTIFACTS
from napari_brainvae.atlas import Atlas
from napari_brainvae.checkpoint import load_checkpoint
from napari_brainvae.files import replacing
from napari_brainvae.model import Model, squared_error
from napari_brainvae.pca import PCA
from napari_brainvae.phantom import (
    Phantom,
    PhantomOptions,
    draw_section,
    section_from_atlas,
    write_phantom,
)
from napari_brainvae.population import Population
from napari_brainvae.robust import robust_inference
from training.fit import FitOptions, fit

TEST_BRAINS = 160
AUGMENT = 0.6


def main(options: argparse.Namespace) -> None:
    table = pd.read_csv(options.out) if options.out.exists() else pd.DataFrame({"seed": []})
    for seed in range(options.seeds):
        if seed in set(table["seed"]):
            continue
        table = pd.concat([table, one_seed(options, seed)], ignore_index=True)
        with replacing(options.out) as beside:
            table.to_csv(beside, index=False)
        print(f"seed {seed} done", flush=True)
    print(f"{platform.machine()}, {options.count} brains of {options.height} x {options.width} px")
    print(summary(table).to_string())


def one_seed(options: argparse.Namespace, seed: int) -> pd.DataFrame:
    size = {"height": options.height, "width": options.width}
    if options.atlas is None:
        section = draw_section(*size.values())
    else:
        section = section_from_atlas(Atlas.open(options.atlas), 293, *size.values())
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "fit.zarr"
        write_phantom(
            Phantom(section, PhantomOptions(count=options.count, seed=seed, **size)), path
        )
        models: dict[str, Model] = {}
        for name, augment in (("plain", 0.0), ("augment", AUGMENT)):
            out = Path(folder) / name
            with contextlib.redirect_stderr(io.StringIO()), contextlib.redirect_stdout(None):
                fit(
                    FitOptions(
                        population=path,
                        out=out,
                        held_out=0,
                        augment=augment,
                        seed=seed,
                        threads=options.threads,
                        steps=options.steps,
                    )
                )
            models[name] = load_checkpoint(out / "model.safetensors")
        preprocessing = models["plain"].header.preprocessing
        sections = Population.open(path).prepared(preprocessing, slice(None))
        models["PCA-8"] = PCA.fit(sections, 8, preprocessing=preprocessing)
    test = PhantomOptions(count=TEST_BRAINS, seed=1000 + seed, artifacts=0.75, **size)
    brains = [Phantom(section, test).brain(i) for i in range(TEST_BRAINS)]
    inputs = preprocessing.apply(np.stack([brain.image for brain in brains]))
    clean = preprocessing.apply(np.stack([brain.clean for brain in brains]))
    artifact = np.array([brain.artifact for brain in brains])
    rows = []
    for name, model in models.items():
        robust = "both" if name == "augment" else "robust" if name == "plain" else f"{name} robust"
        ways = {
            "none" if name == "plain" else name: model.reconstruct(inputs),
            robust: robust_inference(model, inputs).reconstruction,
        }
        for way, drawn in ways.items():
            error = squared_error(clean, drawn)
            rows += [
                {"seed": seed, "model": way, "class": kind, "error": error[artifact == kind].mean()}
                for kind in ARTIFACTS
            ]
    return pd.DataFrame(rows)


def summary(table: pd.DataFrame) -> pd.DataFrame:
    """Mean over seeds with its 95 % t interval, x 1e-4, and the ratio to plain PCA, paired."""
    wide = table.pivot(index="seed", columns=["model", "class"], values="error")
    rows = {
        model: {
            kind: f"{interval(1e4 * wide[model, kind].to_numpy())}; "
            f"{interval((wide[model, kind] / wide['PCA-8', kind]).to_numpy())} x PCA-8"
            for kind in ARTIFACTS
        }
        for model in table["model"].unique()
    }
    return pd.DataFrame(rows).T


def interval(values: NDArray[np.float64]) -> str:
    mean, count = values.mean(), len(values)
    if count < 2:
        return f"{mean:.2f}"
    half = stats.t.ppf(0.975, count - 1) * values.std(ddof=1) / np.sqrt(count)
    return f"{mean:.2f} ± {half:.2f}"


if __name__ == "__main__":
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--out", type=Path, required=True, help="table to write, .csv")
    parser.add_argument("--atlas", type=Path, help="atlas directory: use its template")
    parser.add_argument("--count", type=int, default=256, help="brains to fit")
    parser.add_argument("--height", type=int, default=96)
    parser.add_argument("--width", type=int, default=128)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--steps", type=int, help="of training; recipe fast's by default")
    parser.add_argument("--threads", type=int, default=1)
    main(parser.parse_args())
