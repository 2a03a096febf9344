"""``python -m training.match``: which factor of one model is which of another's, what changed."""

from __future__ import annotations

import logging
from pathlib import Path

from pydantic import BaseModel, Field
from pydantic_settings import CliPositionalArg

from training.cli import main, progress_bar

log = logging.getLogger(__name__)


class MatchOptions(BaseModel):
    """Hold two models of the same brains side by side, such as before and after leaving brains out.

    Factors go together by the correlation of their codes over the brains that are not flagged, and
    by the cosine of their fields (Hungarian method); what has no partner is told. Writes match.csv
    (a row a pair), changed_brains.csv (those first that became more or less unusual), the heat map
    of all factors as PNG and SVG, and record.json. The panel "Two models" writes the same.
    """

    model_a: CliPositionalArg[Path] = Field(description="Checkpoint, called A.")
    model_b: CliPositionalArg[Path] = Field(description="Another one, called B.")
    population: CliPositionalArg[Path] = Field(description="Sections that both can use.")
    out: Path = Field(description="Folder for the results; new or empty.")


def match(options: MatchOptions) -> None:
    """Run `training.match` with these options: everything is written at the end, or nothing.

    Raises
    ------
    InputError, OSError
        For bad input, before anything is written.
    """
    from napari_brainvae.data.population import Population
    from napari_brainvae.io.atomic_files import recover
    from napari_brainvae.models.checkpoint import load_checkpoint
    from napari_brainvae.reporting.match_report import write_match
    from napari_brainvae.statistics.two_models import compare_models

    out = recover(options.out.absolute())
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise FileExistsError(f"{options.out} is not an empty folder: give another")
    a, b = load_checkpoint(options.model_a), load_checkpoint(options.model_b)
    population = Population.open(options.population)
    with progress_bar("brains") as progress:
        found = compare_models(a, b, population, progress=progress)
    write_match(out, found, a, b, population)
    table = found.match.table().drop(columns="by_fields").round(3)
    log.info("%s", table.to_string(index=False, na_rep=""))
    if found.incomparable:
        log.warning("note: %s", found.incomparable)
    log.info("written: %s", options.out)


if __name__ == "__main__":
    main(MatchOptions, match, program="python -m training.match")
