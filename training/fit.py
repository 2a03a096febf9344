"""``python -m training.fit``: fit a beta-VAE to a population, headless and resumable."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import closing, contextmanager

from napari_brainvae.io.errors import InputError
from napari_brainvae.io.progress import Progress, Stopped
from napari_brainvae.models.fit_options import FitOptions
from training.cli import main

log = logging.getLogger(__name__)


def fit(
    options: FitOptions,
    *,
    progress: Progress | None = None,
    fingerprint: str | None = None,
    members: list[int] | None = None,
    halves: bool = True,
) -> None:
    """Run `training.fit` with these options.

    Parameters
    ----------
    progress
        Called after each step; by default a bar in the terminal, a file ``progress.json`` for other
        programs, and a stop after saving at Ctrl-C or where a file ``stop`` is laid in the folder.
    fingerprint
        Of the population, where it is known: it is not hashed again.
    members
        Positions of the brains to fit, instead of the share that is not held out.
    halves
        Whether to say which factors come again in split halves, which takes its time.

    Raises
    ------
    InputError, OSError
        For bad input, before anything is written; if training diverges.
    Stopped
        If ``progress`` says so; the run can be resumed.
    """
    from napari_brainvae.data.marks import NONE
    from napari_brainvae.data.population import Population
    from training.fitting.findings import summary
    from training.fitting.job import make_job
    from training.fitting.loop import train
    from training.fitting.replication import SPLITS
    from training.fitting.run_folder import RunFolder
    from training.fitting.start import start
    from training.fitting.watch import Watched

    folder = RunFolder(options.out)
    folder.check(resume=options.resume)
    splits = SPLITS if halves else 0
    marks = options.marks if members is None else NONE
    population = Population.open(options.population, marks)
    job = make_job(options, population, fingerprint, members, splits)
    if options.resume:
        folder.check_same(job.record)
    model = start(job)
    with (
        folder.owned(resume=options.resume),
        closing(Watched(folder, stoppable=options.devices == 1)) as watched,
        watched.listening(),
    ):
        folder.keep_marks(population)
        with _said_to_her():
            findings = train(job, model, folder, progress or watched)
    if findings:
        log.info(summary(findings, folder.model))


@contextmanager
def _said_to_her() -> Iterator[None]:
    """Say what she can do about an end before the last step."""
    import torch

    try:
        yield
    except Stopped as stopped:
        raise Stopped(f"{stopped} steps, and saved: --resume goes on") from None
    except torch.OutOfMemoryError as error:
        raise InputError(
            "the device has not enough memory: give a smaller --batch-size or --resident-gb"
        ) from error


if __name__ == "__main__":
    main(FitOptions, fit, program="python -m training.fit")
