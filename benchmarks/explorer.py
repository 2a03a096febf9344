"""Time what a slider of the panel "Explore factors" computes, and to new pixels in a real window.

    python -m benchmarks.explorer [--atlas DIR] [--turns 200] [--threads 1] [--brains 1723]
    xvfb-run -a python -m benchmarks.explorer --window [--atlas DIR]

Sections of 320 x 448 px, 8 factors. Each turn is another position of a slider: one decode, the
difference from the mean section, and how far out the codes are among those of so many brains.
--window opens napari, moves a slider step by step, and then drags it, faster than anything can be
computed.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import torch

from benchmarks.interaction import follow, prepare
from benchmarks.timing import in_turns, print_machine, print_times
from benchmarks.windows import wait
from napari_brainvae.data.population import Population
from napari_brainvae.factors.live_section import Against, generate
from napari_brainvae.models.checkpoint import load_checkpoint


def compute(folder: Path, turns: int, count: int) -> None:
    """Time a move of a slider beside the decode that it cannot do without."""
    model = load_checkpoint(folder / "model.safetensors")
    against = Against(model, Population.open(folder / "p.zarr"))
    rng = np.random.default_rng(0)
    brains = rng.standard_normal((count, model.latent_dim))
    moves = rng.standard_normal((turns + 2, model.latent_dim)).astype(np.float32)
    assert np.array_equal(generate(against, moves[0]).section, model.decode(moves[:1])[0])
    times = in_turns(
        {
            "slider": lambda t: generate(against, moves[t], brains),
            "(decode)": lambda t: model.decode(moves[t : t + 1]),
        },
        turns,
    )
    print_times(times, [("slider", "(decode)")])
    clock, cpu = (1e3 * np.percentile(each, 95) for each in times["slider"])
    print(f"slider, p95: {cpu:.1f} ms of CPU, {clock:.1f} ms by the clock (to hold: 33)")


def window(folder: Path, steps: int) -> None:
    """Time a slider in napari, from its event to the end of showing what was computed."""
    import napari

    viewer = napari.Viewer()
    viewer.open(folder / "p.zarr", plugin="napari-brainvae")
    viewer.open(folder / "model.safetensors", plugin="napari-brainvae")
    _, widget = viewer.window.add_plugin_dock_widget("napari-brainvae", "Explore factors")
    wait(lambda: widget.source.ready and len(widget.sliders.sliders) > 0)
    widget.list_brains()
    wait(lambda: not widget.job.running and widget.latest.idle)
    slider = widget.sliders.sliders[0]
    middle, reach = np.mean([slider.minimum(), slider.maximum()]), 0.5 * slider.maximum()
    move = slider.setValue
    follow("factor", widget.latest, lambda i: move(middle + reach * np.sin(i)), steps)
    viewer.close()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--atlas", type=Path)
    parser.add_argument("--turns", type=int, default=200)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--brains", type=int, default=1723)
    parser.add_argument("--window", action="store_true", help="in napari; needs a screen")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    print_machine()
    with TemporaryDirectory() as name:
        prepare(Path(name), options.atlas)
        if options.window:
            window(Path(name), options.turns // 2)
        else:
            compute(Path(name), options.turns, options.brains)


if __name__ == "__main__":
    main()
