"""What panels share of the brains on show: what was measured of them, and which are selected."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import partial

import numpy as np
import numpy.typing as npt
import pandas as pd
from psygnal import Signal

from napari_brainvae.data.population import Population
from napari_brainvae.denoising.brain_table import brain_table, factors_of
from napari_brainvae.io.progress import Progress
from napari_brainvae.statistics.association import associate
from napari_brainvae.widgets.inputs import Inputs


@dataclass(frozen=True, eq=False)
class BrainTable:
    """The brains, and what goes with the covariates of those that count.

    Attributes
    ----------
    brains
        By `denoising.brain_table.brain_table`: a row a brain, in the order of the stack.
    associations
        By `statistics.association.associate`, of the brains that count.
    inputs
        What it was computed from.
    counted
        ``(N,)`` bool: the brains that were neither flagged nor marked as excluded then.
    """

    brains: pd.DataFrame
    associations: pd.DataFrame
    inputs: Inputs
    counted: npt.NDArray[np.bool_]

    @property
    def codes(self) -> pd.DataFrame:
        """Posterior means ``(N, L)``; NaN of brains that cannot be used."""
        return factors_of(self.brains)


def _measured(inputs: Inputs, progress: Progress) -> BrainTable:
    """Reconstruct every brain; runs in a background thread."""
    _, model, population, *_ = inputs
    brains = brain_table(model, population, progress=progress)
    counted = ~population.flagged
    factors = factors_of(brains[counted])
    return BrainTable(brains, associate(factors, population.covariates), inputs, counted)


class SharedBrains:
    """The measured brains and the selected ones; get it as ``workspace.brains``.

    Whoever measures gives the table to all panels, and whoever selects, selects for all. Which
    brain is on show is the viewer's slider alone.

    Parameters
    ----------
    inputs
        Gives what a table would be computed from now; None while something is missing.
    population
        Gives the brains on show; None while there are none.

    Signals
    -------
    table_changed
        There is another table, or none any more.
    selection_changed
        Other brains are selected.
    """

    table_changed, selection_changed = Signal(), Signal()

    def __init__(
        self, inputs: Callable[[], Inputs | None], population: Callable[[], Population | None]
    ) -> None:
        self._inputs, self._population = inputs, population
        self._known: Population | None = None
        self.table: BrainTable | None = None
        self.selected: frozenset[int] = frozenset()

    def measure(self, run: Callable[..., None]) -> None:
        """Reconstruct every brain, for all panels, by a panel's `JobBar.run`."""
        inputs = self._inputs()
        if inputs is not None:
            measured = partial(_measured, inputs)
            run("Listing", measured, self.give, lambda: inputs.same(self._inputs()))

    def give(self, table: BrainTable) -> None:
        """Share what was measured, if it belongs to what is chosen."""
        if table.inputs.same(self._inputs()):
            self.table = table
            self.table_changed.emit()

    def select(self, positions: Iterable[int]) -> None:
        """Select brains by their positions in the stack, instead of those selected before."""
        selected = frozenset(map(int, positions))
        if selected != self.selected:
            self.selected = selected
            self.selection_changed.emit()

    def drop_stale(self) -> None:
        """Keep neither the table of other inputs nor a selection among other brains."""
        now = self._inputs()
        if self.table is not None and not self.table.inputs.same(now):
            self.table = None
            self.table_changed.emit()
        population = self._population()
        if population is not self._known:  # more may be known of the same brains
            before, self._known = self._known, population
            if before is None or population is None or list(before.ids) != list(population.ids):
                self.select([])
