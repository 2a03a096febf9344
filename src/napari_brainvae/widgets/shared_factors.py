"""What panels share of the factors: what the panel "Factors" says of each."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from psygnal import Signal

from napari_brainvae.factors.description import FactorDescription
from napari_brainvae.widgets.inputs import Inputs


class SharedFactors:
    """What is said of each factor; get it as ``workspace.factors``.

    Parameters
    ----------
    inputs
        Gives what it would be said of now; None while something is missing.

    Signals
    -------
    changed
        There are other descriptions.
    """

    changed = Signal()

    def __init__(self, inputs: Callable[[], Inputs | None]) -> None:
        self._inputs = inputs
        self._given: tuple[Sequence[FactorDescription], Inputs] | None = None

    @property
    def descriptions(self) -> Sequence[FactorDescription]:
        """Of all factors of what is chosen; empty if they were not described."""
        if self._given is None or not self._given[1].same(self._inputs()):
            return ()
        return self._given[0]

    def give(self, descriptions: Sequence[FactorDescription], inputs: Inputs) -> None:
        """Share what was said of these inputs."""
        self._given = descriptions, inputs
        self.changed.emit()
