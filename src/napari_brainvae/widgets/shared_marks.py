"""The marks of the brains on show, for all panels: set, written at once, undone; and the keys."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

from napari.layers import Image
from psygnal import Signal

from napari_brainvae.data.marks import WORDS, MarkBook, Marks, marks_beside, read_marks
from napari_brainvae.data.population import Population
from napari_brainvae.data.population_files import READERS
from napari_brainvae.io.errors import InputError

KEYS = {"accept": "Alt-A", "exclude": "Alt-E", "unsure": "Alt-U"}
UNDO, REDO = "Alt-Z", "Shift-Alt-Z"
"""None of them is one of napari's, nor opens one of its menus."""

UNSAVED = "kept only while this window is open: the sections come from no file"


class SharedMarks:
    """Marks of the chosen sections; get it as ``workspace.marks``.

    They are live: the population on show has them, so that whatever is computed from now on leaves
    excluded brains out, as the commands do. What was computed before stays as it is.

    Parameters
    ----------
    sections, population
        Give the chosen layer and what it shows; None while there are none.
    say
        Says a sentence in all panels.

    Signals
    -------
    changed
        Other brains are marked, or there are other brains.
    """

    changed = Signal()

    def __init__(
        self,
        sections: Callable[[], Image | None],
        population: Callable[[], Population | None],
        say: Callable[[str], None],
    ) -> None:
        self._sections, self._population, self._say = sections, population, say
        self._book: MarkBook | None = None
        self._elsewhere: dict[tuple[str, ...], Path] = {}
        self._users = 0

    @property
    def path(self) -> Path | None:
        """Where marks are kept; None: nowhere, or there are no brains."""
        return None if self._book is None else self._book.marks.path

    @property
    def of_brains(self) -> list[str]:
        """The mark of each brain of the stack, in its order; empty without one."""
        return [] if self._book is None else self._book.marks.of(self._book.ids)

    @property
    def undoable(self) -> bool:
        """Whether there is a change to undo."""
        return self._book is not None and self._book.undoable

    @property
    def redoable(self) -> bool:
        """Whether there is a change to make again."""
        return self._book is not None and self._book.redoable

    @property
    def sentence(self) -> str:
        """How many brains are marked, what that means, and where it is kept."""
        marks = self.of_brains
        counts = [f"{marks.count(word)} {word}" for word in WORDS if word in marks]
        if not counts:
            return "No brain is marked."
        fit = "; a fit leaves the excluded out" if "exclude" in marks else ""
        kept = UNSAVED if self.path is None else f"in {self.path.name}"
        return f"Marked: {', '.join(counts)}{fit}; {kept}."

    def mark(self, positions: Iterable[int], mark: str, by: str) -> None:
        """Mark brains by their positions in the stack; an empty mark takes one back."""
        if self._book is not None:
            ids = [self._book.ids[i] for i in sorted(positions)]
            self._try(lambda book: book.mark(ids, mark, by))

    def undo(self) -> None:
        """Take the last change back."""
        self._try(MarkBook.undo)

    def redo(self) -> None:
        """Make the change again that was undone last."""
        self._try(MarkBook.redo)

    def keep_in(self, path: Path) -> None:
        """Take the marks of these brains from another file, and keep them there from now on.

        Raises
        ------
        InputError
            If it is no file of their marks.
        """
        if self._book is not None:
            self._open(read_marks(path, self._book.ids), self._book.ids)
            self._elsewhere[tuple(self._book.ids)] = path

    def follow(self) -> None:
        """Go on with the marks of the sections that are chosen now."""
        population = self._population()
        if population is None:
            self._book = None
            self.changed.emit()
            return
        path = self._elsewhere.get(tuple(population.ids), self._path_of(population))
        book = self._book
        if book is not None and book.marks.path == path and book.ids == population.ids:
            population.marks = book.marks
            return
        marks = population.marks if path is None else Marks(path)
        try:  # others may have marked since it was opened
            marks = marks if path is None else read_marks(path, population.ids)
        except (InputError, OSError) as error:
            self._say(f"The marks cannot be used: {error}.")
        self._open(marks, population.ids)

    def _path_of(self, population: Population) -> Path | None:
        """Where marks are kept; napari's own reader tells the file on its layer alone."""
        layer = self._sections()
        source = None if layer is None else layer.source.path
        if population.marks.path is not None or source is None:
            return population.marks.path
        file = Path(source)
        return marks_beside(file) if file.suffix.lower() in READERS and file.exists() else None

    def _open(self, marks: Marks, ids: Sequence[str]) -> None:
        self._book = MarkBook(marks, ids)
        self._tell_population()

    def _try(self, change: Callable[[MarkBook], Any]) -> None:
        if self._book is None:
            return
        try:
            change(self._book)
        except (InputError, OSError) as error:
            self._say(f"Not marked: {error}.")
        else:
            self._tell_population()

    def _tell_population(self) -> None:
        population = self._population()
        if population is not None and self._book is not None:
            population.marks = self._book.marks
        self.changed.emit()

    def hold_keys(self, viewer: Any, shown: Callable[[], int | None]) -> None:
        """Let keys mark the brain on show, as long as a panel is open that says so."""
        self._users += 1
        if self._users > 1:
            return

        def bound(mark: str) -> Callable[[Any], None]:
            def mark_shown(_: Any) -> None:
                index = shown()
                if index is not None:
                    self.mark([index], mark, by="key")

            return mark_shown

        def undo_mark(_: Any) -> None:
            self.undo()

        def redo_mark(_: Any) -> None:
            self.redo()

        for mark, key in KEYS.items():
            viewer.bind_key(key, bound(mark), overwrite=True)
        viewer.bind_key(UNDO, undo_mark, overwrite=True)
        viewer.bind_key(REDO, redo_mark, overwrite=True)

    def leave_keys(self, viewer: Any) -> None:
        """Give the keys back once no panel says any more what they do."""
        self._users -= 1
        if not self._users:
            for key in (*KEYS.values(), UNDO, REDO):
                viewer.bind_key(key, None)
