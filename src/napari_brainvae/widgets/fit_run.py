"""The run of a fit that a viewer's panel "Fit" watches: a process of its own, known by its folder.

It outlives the panel, and napari if that is wanted. Whatever is known of it stands in its folder
(`models.run_state`), so one that was begun before napari was restarted is watched just the same.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from dataclasses import dataclass
from functools import partial
from itertools import count
from pathlib import Path
from typing import Any, Literal
from weakref import finalize

from qtpy.QtCore import QCoreApplication, QObject, QTimer, Signal

import napari_brainvae
from napari_brainvae.io.atomic_files import make_folder
from napari_brainvae.io.command_line import command_words
from napari_brainvae.io.errors import InputError, present
from napari_brainvae.io.places import check_places
from napari_brainvae.models.fit_options import FitOptions
from napari_brainvae.models.run_state import LOG, MODEL, RunState, ask_to_stop, run_state

POLL_MS = 300
INTERRUPTED = 130
KILLED = (
    "The fit was ended from outside (code {}), as systems do that run out of memory. What was "
    "saved is whole: Resume goes on."
)
BROKE_OFF = "The fit ended before it was done. What was saved is whole: Resume goes on."


@dataclass
class _Held:
    """What has to be known when the window is gone, and with it all objects of Qt."""

    folder: Path | None = None
    process: subprocess.Popen[bytes] | None = None
    goes_on: bool = True


class FitRun(QObject):
    """One run at a time; get it with `fit_run_of`.

    Attributes
    ----------
    folder
        Of the run that is watched, or was last.
    state
        What the folder says of it.
    outcome
        How it ended; nothing while it runs, or before there was one.
    said
        What the command said at the end, or of what went wrong.
    taken
        Whether its fitted model was made that of all panels.

    Signals
    -------
    changed
        It is further, began or ended.
    """

    changed = Signal()

    def __init__(self, parent: QObject | None) -> None:
        super().__init__(parent)
        self.state = RunState("new")
        self.outcome: Literal["", "done", "stopped", "failed"] = ""
        self.said = ""
        self.stopping = self.taken = False
        self._held = _Held()
        self._log: Path | None = None
        self._timer = QTimer(self, interval=POLL_MS)
        self._timer.timeout.connect(self.look)
        # Not a method of this object: it is called when the object is gone.
        self.destroyed.connect(partial(_leave, self._held))
        if (application := QCoreApplication.instance()) is not None:
            application.aboutToQuit.connect(partial(_leave, self._held))

    @property
    def folder(self) -> Path | None:
        """Of the run that is watched, or was last."""
        return self._held.folder

    @property
    def running(self) -> bool:
        """Whether the run goes on."""
        return self._timer.isActive()

    @property
    def ours(self) -> bool:
        """Whether it was begun here, and not found."""
        return self._held.process is not None

    @property
    def model(self) -> Path | None:
        """Its newest checkpoint, if there is one yet."""
        path = None if self.folder is None else self.folder / MODEL
        return path if path is not None and path.exists() else None

    @property
    def goes_on(self) -> bool:
        """Whether it goes on when napari is closed; else it saves and stops."""
        return self._held.goes_on

    @goes_on.setter
    def goes_on(self, value: bool) -> None:
        self._held.goes_on = value

    def start(self, options: FitOptions) -> None:
        """Run ``brainvae fit`` with these options in the background.

        Raises
        ------
        InputError, OSError
            If a run is watched already, or nothing can be written there.
        """
        if self.running:
            raise InputError(f"a fit is running in {self.folder}: stop it, or wait for its end")
        check_places(options)
        folder = options.out.absolute()
        kind = run_state(folder).kind
        if kind == "running":
            raise InputError(f"another fit is working in {folder}: give another folder")
        if kind == "other" and not options.resume:
            raise InputError(f"{folder} is not empty: give another folder")
        make_folder(folder)
        words = command_words("fit", options)[2:]
        self._log, log = _new_log(folder)
        with log:
            process = subprocess.Popen(  # noqa: S603 - no shell, and no word of it is a program
                [sys.executable, "-m", "training.fit", *words],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                env=environment(),
                **_apart(),
            )
        self._begin(folder, process)

    def follow(self, folder: Path) -> bool:
        """Watch the run of a folder that somebody else has begun; whether there is one."""
        if self.running or run_state(folder).kind != "running":
            return False
        self._log = max(folder.glob(LOG), key=os.path.getmtime, default=None)
        self._begin(folder.absolute(), None)
        return True

    def stop(self) -> None:
        """Ask it to stop after saving; what has not begun to fit has nothing to save."""
        process = self._held.process
        if not self.running or self.folder is None:
            return
        self.stopping = True
        if run_state(self.folder).kind == "running":
            ask_to_stop(self.folder)
        elif process is not None:
            process.kill()
        self.changed.emit()

    def kill(self) -> None:
        """End it at once: the steps since the last save are done again when it is resumed."""
        if self._held.process is not None:
            self.stopping = True
            self._held.process.kill()

    def look(self) -> None:
        """See how far it is."""
        folder, process = present(self.folder, "the folder of a run"), self._held.process
        # First the process, then the folder: what it wrote last is seen.
        code = None if process is None else process.poll()
        self.state = run_state(folder)
        if process is None and self.state.kind != "running":
            self._end(0 if self.state.kind == "complete" else INTERRUPTED)
        elif code is not None:
            killed_when_done = code < 0 and self.state.kind == "complete"
            self._end(0 if killed_when_done else code)
        self.changed.emit()

    def _begin(self, folder: Path, process: subprocess.Popen[bytes] | None) -> None:
        self._held.folder, self._held.process = folder, process
        self.outcome, self.said, self.stopping, self.taken = "", "", False, False
        self._timer.start()
        self.look()

    def _end(self, code: int) -> None:
        self._timer.stop()
        self._held.process = None
        lines = [] if self._log is None else _lines(self._log)
        if code == 0:
            self.outcome, self.said = "done", "\n".join(_after_the_steps(lines))
        elif self.stopping or (code == INTERRUPTED and self.state.kind == "unfinished"):
            self.outcome = "stopped"
            self.said = _error(lines) or BROKE_OFF
        else:
            self.outcome = "failed"
            whole = "\n".join(_after_the_steps(lines)) if code == 1 else ""
            self.said = whole or _error(lines) or KILLED.format(code)


def environment() -> dict[str, str]:
    """Give a process the variables of this one, but our own packages before any other's.

    A folder called ``training`` where she works, or on her path, is none of ours.
    """
    package = Path(napari_brainvae.__file__).parent
    # Installed, `training` lies beside the package; in a checkout, beside its `src`.
    homes = [home for home in package.parents[:2] if (home / "training" / "fit.py").is_file()]
    paths = dict.fromkeys(map(str, [*homes[:1], package.parent]))
    own = {"PYTHONPATH": os.pathsep.join(paths), "PYTHONSAFEPATH": "1", "PYTHONUTF8": "1"}
    return {**os.environ, **own, "PYTHONUNBUFFERED": "1"}


def _apart() -> dict[str, Any]:
    """So that it outlives napari, and hears no Ctrl-C that is meant for it."""
    if sys.platform == "win32":
        flags = subprocess.CREATE_NEW_PROCESS_GROUP | subprocess.CREATE_NO_WINDOW
        return {"creationflags": flags}
    return {"start_new_session": True}


def _new_log(folder: Path) -> tuple[Path, Any]:
    """Open the log of one more command in a folder."""
    for number in count(1):
        path = folder / LOG.replace("*", "" if number == 1 else f"-{number}")
        try:
            return path, open(path, "xb")
        except FileExistsError:
            continue
    raise AssertionError


def _lines(log: Path) -> list[str]:
    text = log.read_text(encoding="utf-8", errors="replace")
    return [line for line in re.split(r"[\r\n]+", text) if line.strip()]


def _after_the_steps(lines: list[str]) -> list[str]:
    """What was said after the last line of the progress bar."""
    steps = [i for i, line in enumerate(lines) if re.search(r"\d+%\|.*\|", line)]
    return lines[steps[-1] + 1 :] if steps else lines


def _error(lines: list[str]) -> str:
    """The sentence with which the command ended."""
    errors = [line for line in lines if line.startswith("error: ")]
    return errors[-1].removeprefix("error: ") if errors else ""


_left: list[subprocess.Popen[bytes]] = []
"""Processes that go on without us: Python would complain of those that nobody holds."""


def _leave(held: _Held, *_: Any) -> None:
    """Let a run go on, or ask it to save and stop; napari does not wait for it."""
    process, held.process = held.process, None
    if process is None or process.poll() is not None:
        return
    _left.append(process)
    if not held.goes_on and held.folder is not None:
        if run_state(held.folder).kind == "running":
            ask_to_stop(held.folder)
        else:
            process.kill()


_runs: dict[int, FitRun] = {}
"""By identity of the viewer: they compare by what is in them."""


def fit_run_of(viewer: Any) -> FitRun:
    """Give the one run of a viewer, which outlives its panels."""
    viewer = getattr(viewer, "__wrapped__", viewer)  # napari gives plugins a proxy
    if id(viewer) not in _runs:
        window = getattr(getattr(viewer, "window", None), "_qt_window", None)
        _runs[id(viewer)] = FitRun(window)
        finalize(viewer, _runs.pop, id(viewer), None)
    return _runs[id(viewer)]
