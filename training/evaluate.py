"""``python -m training.evaluate``: which model is better, and by how much."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from napari_brainvae.io.errors import InputError
from napari_brainvae.io.places import check_empty
from training.cli import main
from training.evaluation.options import EvaluateOptions

if TYPE_CHECKING:
    from pathlib import Path

    from napari_brainvae.reporting.provenance import Provenance
    from training.evaluation.comparison import Comparison

log = logging.getLogger(__name__)


def evaluate(options: EvaluateOptions) -> Comparison:
    """Run `training.evaluate` with these options: everything is written at the end, or nothing.

    Raises
    ------
    InputError, OSError
        For bad input, before anything is written.
    """
    from napari_brainvae.io.atomic_files import remove_leftovers
    from napari_brainvae.models.checkpoint import load_checkpoint, run_name
    from napari_brainvae.reporting.export import results_folder
    from napari_brainvae.reporting.provenance import provenance
    from training.evaluation.comparison import compare, summary

    if options.out.is_dir():
        remove_leftovers(options.out)
    out = check_empty(options.out)
    names = [run_name(path) for path in options.model]
    if len(set(names)) < len(names):
        raise InputError(f"models of the same name: {', '.join(names)}; rename a run folder")
    models = {n: load_checkpoint(path) for n, path in zip(names, options.model, strict=True)}
    comparison = compare(options, models)
    about = provenance(options, models=comparison.models, notes=comparison.notes)
    with results_folder(out, about) as beside:
        _write(comparison, about, beside)
    log.info("%s", summary(comparison))
    return comparison


def _write(comparison: Comparison, about: Provenance, folder: Path) -> None:
    """Write tables, figures and the report."""
    from napari_brainvae.reporting.html import write_report
    from napari_brainvae.reporting.paper_figures import save_figure
    from training.evaluation.comparison import write_tables
    from training.evaluation.figures import evaluation_figures
    from training.evaluation.report import evaluation_parts

    write_tables(comparison, folder)
    figures = evaluation_figures(comparison)
    for name, figure in figures.items():
        save_figure(figure, folder / name, about)
    title = "Which model is better, and by how much"
    write_report(folder / "report.html", title, evaluation_parts(comparison, figures))


if __name__ == "__main__":
    main(EvaluateOptions, evaluate, program="python -m training.evaluate")
