"""``python -m training.fit``: fit a beta-VAE to a population, headless and resumable."""

from __future__ import annotations

import logging
import sys
from contextlib import closing
from typing import TYPE_CHECKING, Any

from tqdm import tqdm

from napari_brainvae.io.errors import InputError
from napari_brainvae.io.progress import Progress
from training.cli import main
from training.fitting.options import FitOptions

if TYPE_CHECKING:  # torch and all that follows wait until there is something to fit
    from training.fitting.run_folder import RunFolder

log = logging.getLogger(__name__)

SHOWN = ("reconstruction", "rate")
"""Terms of the objective that stand beside the progress bar."""


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
        Called after each step; a progress bar in the terminal by default.
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
    import torch

    from napari_brainvae.data.marks import NONE
    from napari_brainvae.data.population import Population
    from training.fitting.findings import summary
    from training.fitting.job import make_job
    from training.fitting.loop import train
    from training.fitting.replication import SPLITS
    from training.fitting.run_folder import RunFolder
    from training.fitting.start import start

    folder = RunFolder(options.out)
    folder.check(resume=options.resume)
    splits = SPLITS if halves else 0
    marks = options.marks if members is None else NONE
    population = Population.open(options.population, marks)
    job = make_job(options, population, fingerprint, members, splits)
    if options.resume:
        folder.check_same(job.record)
    model = start(job)
    with folder.owned(resume=options.resume), closing(_Bar(folder)) as bar:
        folder.keep_marks(population)
        try:
            findings = train(job, model, folder, progress or bar)
        except torch.OutOfMemoryError as error:
            raise InputError(
                "the device has not enough memory: give a smaller --batch-size or --resident-gb"
            ) from error
    if findings:
        log.info(summary(findings, folder.model))


class _Bar:
    """A progress bar with what the history's last row says, from the first step on."""

    def __init__(self, folder: RunFolder) -> None:
        self.folder = folder
        self.bar: tqdm[Any] | None = None

    def __call__(self, done: int, total: int) -> None:
        if self.bar is None:
            # In a log file, a line now and then is enough.
            pause = 0.5 if sys.stderr.isatty() else 10
            self.bar = tqdm(
                total=total, initial=done - 1, unit="step", mininterval=pause, smoothing=0.1
            )
        if self.folder.rows:
            shown = {n: v for n, v in self.folder.rows[-1].items() if n in SHOWN}
            self.bar.set_postfix(shown, refresh=False)
        self.bar.update(done - self.bar.n)

    def close(self) -> None:
        if self.bar is not None:
            self.bar.close()


if __name__ == "__main__":
    main(FitOptions, fit, program="python -m training.fit")
