"""``python -m training.gather``: make one population of registered brains, whatever wrote them."""

from __future__ import annotations

from napari_brainvae.gathering.options import GatherCommand
from training.cli import main, progress_bar


def gather(options: GatherCommand) -> None:
    """Run `training.gather` with these options.

    Raises
    ------
    InputError, OSError
        For bad input, before anything is written; if no brain can be used.
    """
    # Imported here: --help must not wait for the readers of every format.
    from napari_brainvae.gathering.run import gather

    with progress_bar("gathering", unit="brain") as progress:
        gather(options, progress=progress)


if __name__ == "__main__":
    main(GatherCommand, gather, program="python -m training.gather")
