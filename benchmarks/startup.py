"""Time what opening a widget adds to napari and torch, and the --help of every command.

    xvfb-run -a python benchmarks/startup.py [--turns 5]

Every number is from a fresh process; the files were read before, so that the disk does not count.
"""

from __future__ import annotations

import argparse
import resource
import subprocess
import sys
import time

import numpy as np

from benchmarks.timing import Times, print_machine, print_times

WIDGETS = ("Reconstruct and denoise", "Atlas", "Receptive field", "Projective field")
COMMANDS = ("acquire", "demo", "evaluate", "fit", "interpret", "pca", "phantom", "sweep")
STEPS = ("import napari", "open its window", "import torch", "open the widget")
OPENING = """
import sys, time
def note():
    print(time.perf_counter(), time.process_time())
note()
import napari
note()
viewer = napari.Viewer()
note()
import torch
note()
viewer.window.add_plugin_dock_widget("napari-brainvae", sys.argv[1])
note()
"""


def opening(widget: str) -> np.ndarray:
    """Seconds ``(steps, 2)`` of each of the `STEPS`, by the clock and of CPU."""
    run = [sys.executable, "-c", OPENING, widget]
    printed = subprocess.run(run, check=True, capture_output=True, text=True).stdout
    marks = [[float(each) for each in line.split()] for line in printed.splitlines()[-5:]]
    return np.diff(marks, axis=0)


def asking_for_help(command: str) -> tuple[float, float]:
    """Seconds by the clock and of CPU."""
    clock, before = time.perf_counter(), resource.getrusage(resource.RUSAGE_CHILDREN)
    run = [sys.executable, "-m", f"training.{command}", "--help"]
    subprocess.run(run, check=True, stdout=subprocess.DEVNULL)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return time.perf_counter() - clock, cpu


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--turns", type=int, default=5)
    turns = parser.parse_args().turns
    print_machine()
    opened = {widget: [] for widget in WIDGETS}
    helped = {command: [] for command in COMMANDS}
    for turn in range(-1, turns):  # the first reads the files and does not count
        for widget in WIDGETS:
            seconds = opening(widget)
            opened[widget] += [seconds] if turn >= 0 else []
        for command in COMMANDS:
            spent = asking_for_help(command)
            helped[command] += [spent] if turn >= 0 else []
    every = np.concatenate(list(opened.values()))
    rows = {step: Times(*every[:, i].T) for i, step in enumerate(STEPS[:-1])}
    rows |= {widget: Times(*np.array(each)[:, -1].T) for widget, each in opened.items()}
    rows |= {f"{name} --help": Times(*np.array(each).T) for name, each in helped.items()}
    print_times(rows, [])


if __name__ == "__main__":
    main()
