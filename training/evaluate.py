"""``python -m training.evaluate``: which model is better, and by how much."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from napari_brainvae.io.errors import InputError
from training.cli import main
from training.evaluation.options import EvaluateOptions

if TYPE_CHECKING:
    from training.evaluation.comparison import Comparison


def evaluate(options: EvaluateOptions) -> Comparison:
    """Run `training.evaluate` with these options.

    Raises
    ------
    ValueError, OSError
        For bad input, before anything is written.
    """
    from napari_brainvae.models.checkpoint import load_checkpoint
    from napari_brainvae.reporting.html import write_report
    from napari_brainvae.reporting.paper_figures import save_figure
    from napari_brainvae.reporting.provenance import provenance
    from training.evaluation.comparison import compare, summary, write_tables
    from training.evaluation.report import evaluation_figures, evaluation_parts

    if options.out.exists() and (not options.out.is_dir() or any(options.out.iterdir())):
        raise FileExistsError(f"{options.out} is not an empty folder: give another")
    names = [_name(path) for path in options.model]
    if len(set(names)) < len(names):
        raise InputError(f"models of the same name: {', '.join(names)}; rename a run folder")
    models = {n: load_checkpoint(path) for n, path in zip(names, options.model, strict=True)}
    comparison = compare(options, models)
    options.out.mkdir(parents=True, exist_ok=True)
    write_tables(comparison, options.out)
    about = provenance(options, models=models)
    figures = evaluation_figures(comparison)
    for name, figure in figures.items():
        save_figure(figure, options.out / name, about)
    write_report(
        options.out / "report.html",
        "Which model is better, and by how much",
        evaluation_parts(comparison, figures),
    )
    print(summary(comparison))
    return comparison


def _name(path: Path) -> str:
    """Name a model by its file, or by its run folder where files are all called 'model'."""
    return path.resolve().parent.name if path.stem == "model" else path.stem


if __name__ == "__main__":
    main(EvaluateOptions, evaluate, program="python -m training.evaluate")
