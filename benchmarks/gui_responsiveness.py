"""How long the window stands still while sliders move and computations run, at full size.

A timer that wants to fire every 5 ms beats in the GUI thread; the longest gap between two beats is
how long nothing else could happen either. Beside it stands what the GUI thread itself computed in
such a gap: the rest is waiting, for the interpreter or for other programs on the machine.

    xvfb-run -a python -m benchmarks.gui_responsiveness [--brains 24] [--only WORD ...]

The situations, a function each: nothing runs (`rest`); the population is measured, also while the
weight is dragged (`population`); fields are refined (`fields`); sliders of a factor are dragged
(`explore`); brains are scrolled through, without a panel and with "Reconstruct and denoise", and
listed (`reconstruct`); thumbnails are made while they are scrolled through (`gallery`); groups are
compared, pixel by pixel (`compare`); a model is fitted while brains are scrolled through (`fit`).

It fails if the GUI thread's own work in a gap is more than 50 ms, or a job that is cancelled goes
on for more than 0.5 s. Not among it are opening a panel, and what napari alone takes to make a
layer, which is measured beside.
"""

from __future__ import annotations

import argparse
import gc
import os
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import napari
import numpy as np
from napari.layers import Image
from qtpy.QtCore import Qt, QTimer

from benchmarks.windows import wait
from napari_brainvae.data.population import Population
from napari_brainvae.data.preprocessing import Preprocessing
from napari_brainvae.models.checkpoint import save_checkpoint
from napari_brainvae.models.header import Header
from napari_brainvae.models.vae import BetaVAE
from napari_brainvae.phantom.phantom import (
    Phantom,
    PhantomOptions,
    draw_section,
    write_phantom,
    write_phantom_atlas,
)
from napari_brainvae.widgets.panels.job_bar import JobBar

HEIGHT, WIDTH = 320, 448
MOST_OWN_MS, MOST_CANCEL_S = 50, 0.5
HEADINGS = (
    "| situation | longest gap, ms | own work at most | ten longest, median | garbage "
    "| gaps over 50 ms |"
)
wrong: list[str] = []
"""What was longer than it may be."""


class Heartbeat:
    """Notes the gaps between beats, in ms of the clock and of the GUI thread's own work."""

    def __init__(self) -> None:
        self.clock: list[float] = []
        self.own: list[float] = []
        self.garbage: list[float] = []
        self._collected = self._gc_began = 0.0
        self.timer = QTimer(interval=5)
        self.timer.setTimerType(Qt.TimerType.PreciseTimer)
        self.timer.timeout.connect(self._beat)
        self._last = 0.0, 0.0

    @contextmanager
    def during(self, what: str, most: float = MOST_OWN_MS) -> Iterator[None]:
        """Beat while something happens, then print what was noted; at most so much own work."""
        gc.callbacks.append(self._collecting)
        self.clock, self.own, self.garbage = [], [], []
        self._collected = 0.0
        self._last = time.perf_counter(), time.thread_time()
        self.timer.start()
        yield
        self.timer.stop()
        gc.callbacks.remove(self._collecting)
        self._print(what, most)

    def _print(self, what: str, most: float) -> None:
        """Print a row of a table."""
        clock, own = 1e3 * np.array(self.clock), 1e3 * np.array(self.own)
        print(
            f"| {what} | {clock.max():.0f} | {own.max():.1f} | {np.median(np.sort(own)[-10:]):.1f} "
            f"| {1e3 * max(self.garbage):.0f} | {(clock > MOST_OWN_MS).sum()} of {len(clock)} |",
            flush=True,
        )
        if own.max() > most:
            wrong.append(f"{what}: {own.max():.0f} ms of the GUI thread's own work at a time")

    def _beat(self) -> None:
        now = time.perf_counter(), time.thread_time()
        self.clock.append(now[0] - self._last[0])
        self.own.append(now[1] - self._last[1] - self._collected)
        self.garbage.append(self._collected)
        self._last, self._collected = now, 0.0

    def _collecting(self, phase: str, info: object) -> None:
        """Note how long Python collects garbage in the GUI thread; it may in any."""
        if threading.current_thread() is threading.main_thread():
            if phase == "start":
                self._gc_began = time.thread_time()
            else:
                self._collected += time.thread_time() - self._gc_began


def prepare(folder: Path, brains: int) -> None:
    """Write a population, an atlas and a model, whose steps cost what a trained one's do."""
    section = draw_section(HEIGHT, WIDTH)
    options = PhantomOptions(count=brains, height=HEIGHT, width=WIDTH)
    write_phantom(Phantom(section, options), folder / "p.zarr")
    write_phantom_atlas(section, folder / "p.atlas")
    preprocessing = Preprocessing.fit(Population.open(folder / "p.zarr").sections())
    header = Header(
        kind="vae", height=HEIGHT, width=WIDTH, latent_dim=8, preprocessing=preprocessing
    )
    save_checkpoint(BetaVAE(header), folder / "model.safetensors")


def pause(seconds: float) -> None:
    """Let the window work for a while."""
    end = time.monotonic() + seconds
    wait(lambda: time.monotonic() > end)


@contextmanager
def opened(viewer: napari.Viewer, name: str) -> Iterator[Any]:
    """Open a panel, wait until what it makes is drawn, and close it again at the end."""
    _, widget = viewer.window.add_plugin_dock_widget("napari-brainvae", name)
    wait(lambda: not hasattr(widget, "latest") or widget.latest.idle)
    pause(0.5)
    yield widget
    viewer.window.remove_dock_widget(widget)
    pause(0.5)


def drag(move: Callable[[int], None], running: Callable[[int], bool]) -> int:
    """Move a slider every 20 ms or more, as long as something runs; how often."""
    moves = 0
    while running(moves):
        move(moves)
        moves += 1
        pause(0.02)
    return moves


def scroll(viewer: napari.Viewer, steps: int = 60) -> None:
    """Drag the slider of the brains."""
    brains = int(viewer.dims.nsteps[0])
    drag(lambda step: viewer.dims.set_point(0, step % brains), lambda step: step < steps)


def cancel(what: str, job: JobBar, begin: Callable[[], None]) -> None:
    """Cancel a job in the midst of a step."""
    spent = []
    for delay in (0.3, 0.7, 1.1):
        begin()
        wait(lambda: job._done > 0)
        end = time.monotonic() + delay
        wait(lambda end=end: time.monotonic() > end or not job.running)
        began = time.perf_counter()
        job.cancel()
        wait(lambda: not job.running)
        spent.append(time.perf_counter() - began)
    print(f"{what}: ends {max(spent):.2f} s after it is cancelled, at most (3 times)", flush=True)
    if max(spent) > MOST_CANCEL_S:
        wrong.append(f"{what}: goes on for {max(spent):.2f} s")


def rest(viewer: napari.Viewer, heart: Heartbeat, folder: Path) -> None:
    """Do nothing."""
    with heart.during("nothing runs"):
        pause(5)


def population(viewer: napari.Viewer, heart: Heartbeat, folder: Path) -> None:
    """Measure the population, and again while the weight is dragged."""
    with opened(viewer, "Receptive field") as widget:
        panel = widget.population
        widget.tabs.setCurrentWidget(panel)
        with heart.during("the population is measured"):
            panel.measure()
            wait(lambda: not panel.job.running)
        widget.tabs.setCurrentIndex(0)
        with heart.during("the same while the weight is dragged"):
            panel.measure()
            drag(
                lambda step: widget.weight.setValue(np.sin(step / 20)), lambda _: panel.job.running
            )
        wait(lambda: widget.latest.idle)
        cancel("measuring the population", panel.job, panel.measure)


def fields(viewer: napari.Viewer, heart: Heartbeat, folder: Path) -> None:
    """Show one factor after the other, each as soon as that before is exact."""
    with opened(viewer, "Projective field") as widget:
        wait(lambda: widget._shown is not None and widget._shown.done and widget.latest.idle)
        coarse, fine = [], []
        with heart.during("fields are refined"):
            for factor in range(1, 8):
                began = time.perf_counter()
                widget.factor = factor
                wait(lambda factor=factor: widget._shown.job.factor == factor)
                coarse.append(time.perf_counter() - began)
                wait(lambda: widget._shown.done and widget.latest.idle)
                fine.append(time.perf_counter() - began)
        print(
            f"from the factor to its coarse map: {np.median(coarse):.2f} s, at most "
            f"{max(coarse):.2f}; to the exact one: {np.median(fine):.1f} s (7 factors)"
        )
        cancel("fields of all factors", widget.job, widget.compute_all)


def explore(viewer: napari.Viewer, heart: Heartbeat, folder: Path) -> None:
    """Drag the slider of a factor."""
    with opened(viewer, "Explore factors") as widget:
        wait(lambda: len(widget.sliders.sliders) > 0 and widget.latest.idle)
        slider = widget.sliders.sliders[0]
        reach = 0.5 * slider.maximum()
        with heart.during("a factor's slider is dragged"):
            drag(lambda step: slider.setValue(reach * np.sin(step / 20)), lambda step: step < 120)
            wait(lambda: widget.latest.idle)


def reconstruct(viewer: napari.Viewer, heart: Heartbeat, folder: Path) -> None:
    """Scroll through the brains with the panel, and through the same layers without; list them."""
    with opened(viewer, "Reconstruct and denoise") as widget:
        with heart.during("brains are scrolled through"):
            scroll(viewer)
            wait(lambda: widget.latest.idle)
        with heart.during("brains are listed"):
            widget.brains.measure()
            wait(lambda: not widget.job.running)
        cancel("listing brains", widget.job, widget.brains.measure)
        ours = {layer: layer.visible for layer in widget._made.values()}
    for layer, visible in ours.items():
        layer.visible = visible
    pause(0.5)
    with heart.during("the same layers without a panel"):
        scroll(viewer)
    for layer in ours:
        layer.visible = False


def gallery(viewer: napari.Viewer, heart: Heartbeat, folder: Path) -> None:
    """Scroll up and down through thumbnails, which are made when they are first seen."""
    with opened(viewer, "Gallery") as widget:
        bar = widget.thumbnails.verticalScrollBar()
        with heart.during("thumbnails are scrolled through"):
            drag(
                lambda step: bar.setValue(round(bar.maximum() * np.sin(step / 40) ** 2)),
                lambda step: step < 120 or not widget.thumbnails.idle,
            )


def compare(viewer: napari.Viewer, heart: Heartbeat, folder: Path) -> None:
    """Compare two groups, permuting factors, regions and pixels; then show what was found.

    That makes a layer, for which napari alone takes longer than a gap may be.
    """
    layer = Image(np.zeros((HEIGHT, WIDTH), np.float32), scale=viewer.layers[0].scale[-2:])
    layer.units = viewer.layers[0].units[-2:]
    with heart.during("napari makes a layer", most=np.inf):
        viewer.layers.append(layer)
        pause(0.5)
    alone = 1e3 * max(heart.own)
    viewer.layers.remove(layer)
    with opened(viewer, "Compare") as widget:
        widget.choice.by.setCurrentText("sex")
        found, show = [], widget._show
        widget._show = found.append
        with heart.during("groups are compared"):
            widget.compare()
            wait(lambda: not widget.job.running)
        if not found:
            raise SystemExit(f"nothing was compared: {widget.job.message}")
        with heart.during("what was found is shown", most=alone + MOST_OWN_MS):
            show(found[0])
            pause(1)
        cancel("comparing", widget.job, widget.compare)


def fit(viewer: napari.Viewer, heart: Heartbeat, folder: Path) -> None:
    """Fit a model in another process, and scroll through what is saved of it."""
    with opened(viewer, "Fit") as widget:
        wait(lambda: widget.fit.isEnabled())
        widget.choice.plain.set_values({"steps": 100_000})
        widget.start(resume=False)
        wait(lambda: widget.run.state.step > 0 and "fit" in widget._made)
        with heart.during("brains are scrolled through during a fit"):
            scroll(viewer)
        widget.run.kill()
        wait(lambda: not widget.run.running)


SITUATIONS = (rest, population, fields, explore, reconstruct, gallery, compare, fit)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--brains", type=int, default=24)
    parser.add_argument("--only", nargs="+", help="names of situations")
    asked = parser.parse_args()
    with TemporaryDirectory() as name:
        folder = Path(name)
        prepare(folder, asked.brains)
        viewer = napari.Viewer()
        viewer.open(folder / "p.zarr", plugin="napari-brainvae")
        viewer.open(folder / "model.safetensors", plugin="napari-brainvae")
        with opened(viewer, "Atlas") as atlas:
            atlas.open_atlas(folder / "p.atlas")
            wait(lambda: atlas.latest.idle)
        print(f"load of the machine before: {os.getloadavg()[0]:.1f}")
        print(f"{HEADINGS}\n{'|---' * HEADINGS.count(' | ')}|---|")
        heart = Heartbeat()
        for situation in SITUATIONS:
            if not asked.only or situation.__name__ in asked.only:
                situation(viewer, heart, folder)
        viewer.close()
    if wrong:
        raise SystemExit("too long: " + "; ".join(wrong))


if __name__ == "__main__":
    main()
