"""How long the window stands still while sliders move and populations are measured, at full size.

A timer that wants to fire every 5 ms beats in the GUI thread; the longest gap between two beats is
how long nothing else could happen either. Beside it stands what the GUI thread itself computed in
such a gap: the rest is waiting, for the interpreter or for other programs on the machine.

    xvfb-run -a python -m benchmarks.gui_responsiveness [--brains 24]

It fails if the GUI thread's own work in a gap is more than 50 ms, or a job that is cancelled goes
on for more than 0.5 s.
"""

from __future__ import annotations

import argparse
import gc
import threading
import time
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory

import napari
import numpy as np
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

    def start(self) -> None:
        """Begin to beat."""
        if self._collecting not in gc.callbacks:
            gc.callbacks.append(self._collecting)
        self.clock, self.own, self.garbage = [], [], []
        self._collected = 0.0
        self._last = time.perf_counter(), time.thread_time()
        self.timer.start()

    def stop(self, what: str) -> None:
        """Stop and print what was noted."""
        self.timer.stop()
        gc.callbacks.remove(self._collecting)
        clock, own = 1e3 * np.array(self.clock), 1e3 * np.array(self.own)
        print(
            f"{what:42s} longest gap {clock.max():6.1f} ms (99.9 %: "
            f"{np.percentile(clock, 99.9):5.1f}), own work at most {own.max():6.1f} ms "
            f"(and {1e3 * max(self.garbage):.0f} ms of garbage collection), "
            f"{(clock > MOST_OWN_MS).sum()} of {len(clock)} gaps over {MOST_OWN_MS} ms"
        )
        if own.max() > MOST_OWN_MS:
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
    section = draw_section(HEIGHT, WIDTH)
    options = PhantomOptions(count=brains, height=HEIGHT, width=WIDTH)
    write_phantom(Phantom(section, options), folder / "p.zarr")
    write_phantom_atlas(section, folder / "p.atlas")
    preprocessing = Preprocessing.fit(Population.open(folder / "p.zarr").sections())
    header = Header(
        kind="vae", height=HEIGHT, width=WIDTH, latent_dim=8, preprocessing=preprocessing
    )
    # What a network has learnt does not matter to how long it takes.
    save_checkpoint(BetaVAE(header), folder / "model.safetensors")


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
    print(f"{what:42s} ends {max(spent):.2f} s after it is cancelled, at most (3 times)")
    if max(spent) > MOST_CANCEL_S:
        wrong.append(f"{what}: goes on for {max(spent):.2f} s")


def reconstruct(viewer: napari.Viewer, brains: int) -> None:
    _, widget = viewer.window.add_plugin_dock_widget("napari-brainvae", "Reconstruct and denoise")
    wait(lambda: widget.source.ready and widget.latest.idle)
    heart = Heartbeat()
    heart.start()
    for step in range(60):
        viewer.dims.set_point(0, step % brains)
        end = time.monotonic() + 0.03
        wait(lambda end=end: time.monotonic() > end)
    wait(lambda: widget.latest.idle)
    heart.stop("while brains are scrolled through")
    heart.start()
    widget.brains.measure()
    wait(lambda: not widget.job.running)
    heart.stop("while brains are listed")
    cancel("listing brains", widget.job, widget.brains.measure)
    viewer.window.remove_dock_widget(widget)


def fields(viewer: napari.Viewer, folder: Path) -> None:
    _, widget = viewer.window.add_plugin_dock_widget("napari-brainvae", "Projective field")
    widget.source.checkpoint = folder / "model.safetensors"
    wait(lambda: widget._shown is not None and widget._shown.done and widget.latest.idle)
    heart, coarse, fine = Heartbeat(), [], []
    heart.start()
    for factor in range(1, 8):
        began = time.perf_counter()
        widget.factor = factor
        wait(lambda factor=factor: widget._shown.job.factor == factor)
        coarse.append(time.perf_counter() - began)
        wait(lambda: widget._shown.done and widget.latest.idle)
        fine.append(time.perf_counter() - began)
    heart.stop("while fields are refined")
    print(
        f"from the factor to its coarse map: {np.median(coarse):.2f} s, at most {max(coarse):.2f}; "
        f"to the exact one: {np.median(fine):.1f} s (7 factors)"
    )
    cancel("fields of all factors", widget.job, widget.compute_all)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--brains", type=int, default=24)
    brains = parser.parse_args().brains
    with TemporaryDirectory() as name:
        folder = Path(name)
        prepare(folder, brains)
        viewer = napari.Viewer()
        viewer.open(folder / "p.zarr", plugin="napari-brainvae")
        _, atlas = viewer.window.add_plugin_dock_widget("napari-brainvae", "Atlas")
        atlas.open_atlas(folder / "p.atlas")
        wait(lambda: atlas.latest.idle)
        viewer.window.remove_dock_widget(atlas)
        _, widget = viewer.window.add_plugin_dock_widget("napari-brainvae", "Receptive field")
        widget.source.checkpoint = folder / "model.safetensors"
        wait(lambda: widget.source.ready and widget.latest.idle)
        heart, panel = Heartbeat(), widget.population

        heart.start()
        end = time.monotonic() + 5
        wait(lambda: time.monotonic() > end)
        heart.stop("nothing runs")

        widget.tabs.setCurrentWidget(panel)
        heart.start()
        panel.measure()
        wait(lambda: not panel.job.running)
        heart.stop("while the population is measured")

        widget.tabs.setCurrentIndex(0)
        heart.start()
        panel.measure()
        moves = answers = 0
        show = widget.latest._show

        def counted(answer) -> None:
            nonlocal answers
            answers += 1
            show(answer)

        widget.latest._show = counted
        while panel.job.running:
            widget.weight.setValue(np.sin(moves / 20))
            moves += 1
            end = time.monotonic() + 0.02
            wait(lambda end=end: time.monotonic() > end)
        heart.stop("the same while the weight is dragged")
        wait(lambda: widget.latest.idle)
        print(f"weight moved {moves} times, {answers} answers shown")
        delays = []
        for weight in np.linspace(-1, 1, 20):
            began = time.perf_counter()
            widget.weight.setValue(weight)
            wait(lambda: widget.latest.idle)
            delays.append(1e3 * (time.perf_counter() - began))
        print(f"from the slider to section and bars: {np.median(delays):.0f} ms (median of 20)")
        cancel("measuring the population", panel.job, panel.measure)
        viewer.window.remove_dock_widget(widget)
        fields(viewer, folder)
        reconstruct(viewer, brains)
        viewer.close()
    if wrong:
        raise SystemExit("too long: " + "; ".join(wrong))


if __name__ == "__main__":
    main()
