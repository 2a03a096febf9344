"""Time what the three sliders compute, and from the slider to new pixels in a real window.

    python benchmarks/interaction.py [--atlas DIR] [--turns 100] [--threads 1]
    xvfb-run -a python benchmarks/interaction.py --window [--atlas DIR]

Sections of 320 x 448 px from a Zarr file. Each turn is a step of each slider to a new position:
brain (reconstruction, encoded ahead as the brains beside the one on show are, or seen for the first
time), weight (perturbed section and shift of the factors), traversal (section with a factor moved).
Beside each stands the same asked of the authors' network as it is. --window opens napari, moves
each slider step by step, and then drags it, faster than anything can be computed.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import torch

from benchmarks.timing import (
    PlainModel,
    fresh_model,
    full_section,
    in_turns,
    print_machine,
    print_times,
)
from benchmarks.windows import wait
from napari_brainvae.atlas.regions import DEFAULT_REGIONS
from napari_brainvae.data.population import Population
from napari_brainvae.data.preprocessing import Preprocessing
from napari_brainvae.denoising.reconstruction import reconstruct_section
from napari_brainvae.factors.projective_field import traverse
from napari_brainvae.factors.receptive_field import Probe, perturb, region_weights
from napari_brainvae.models.checkpoint import load_checkpoint, save_checkpoint
from napari_brainvae.models.encoding_cache import EncodingCache, encode_ahead
from napari_brainvae.phantom.phantom import (
    Phantom,
    PhantomOptions,
    TemplateSection,
    write_phantom,
    write_phantom_atlas,
)

BRAINS = 24


def prepare(folder: Path, atlas: Path | None) -> TemplateSection:
    """Write a population and an untrained model, whose steps cost what a trained one's do."""
    anatomy = full_section(atlas)
    write_phantom(Phantom(anatomy, PhantomOptions(count=BRAINS)), folder / "p.zarr")
    model = fresh_model()
    model.header.pixel_size_um = anatomy.pixel_size_um
    model.header.preprocessing = Preprocessing.fit(Population.open(folder / "p.zarr").sections())
    save_checkpoint(model, folder / "model.safetensors")
    return anatomy


def compute(folder: Path, anatomy: TemplateSection, turns: int) -> None:
    """Time each slider's step beside the plain one."""
    population = Population.open(folder / "p.zarr")
    model = load_checkpoint(folder / "model.safetensors")
    plain = PlainModel(model)
    section = population.prepared(model.header.preprocessing, [0])[0]
    probe, code = Probe(model, section), plain.encode(section[None])[0][0]
    regions = [
        region_weights(anatomy.tree.within(anatomy.annotation, name), model.shape)
        for name in DEFAULT_REGIONS
    ]

    def move_weight(turn: int):
        region = regions[turn % len(regions)]
        probe.check("region", region)
        return probe.shift(region, np.sin(turn))

    def move_weight_plainly(turn: int):
        changed = perturb(section, regions[turn % len(regions)], np.sin(turn))
        return changed, plain.encode(changed[None])[0][0] - code

    for turn in range(len(regions)):
        assert np.allclose(move_weight(turn).shift, move_weight_plainly(turn)[1], atol=1e-4)
    remembering = EncodingCache(model)
    for _ in encode_ahead(remembering, population, 0):
        pass
    times = in_turns(
        {
            "brain, plain": lambda t: reconstruct_section(plain, population, t % BRAINS),
            "brain, first seen": lambda t: reconstruct_section(model, population, t % BRAINS),
            "brain": lambda t: reconstruct_section(remembering, population, t % BRAINS),
            "weight, plain": move_weight_plainly,
            "weight": move_weight,
            "traversal, plain": lambda t: traverse(plain, t % 8, 7 * np.sin(t)),
            "traversal": lambda t: traverse(model, t % 8, 7 * np.sin(t)),
            "(encode)": lambda t: model.encode(section[None]),
            "(decode)": lambda t: model.decode(code[None]),
        },
        turns,
    )
    ratios = [(slider, f"{slider}, plain") for slider in ("brain", "weight", "traversal")]
    print_times(times, [("brain, first seen", "brain, plain"), *ratios])


def window(folder: Path, anatomy: TemplateSection, atlas: Path | None, steps: int) -> None:
    """Time each slider in napari, from its event to the end of showing what was computed."""
    import napari

    viewer = napari.Viewer()
    viewer.open(folder / "p.zarr", plugin="napari-brainvae")
    viewer.open(folder / "model.safetensors", plugin="napari-brainvae")
    if atlas is None:
        atlas = folder / "p.atlas"
        write_phantom_atlas(anatomy, atlas)

    def opened(name: str):
        _, widget = viewer.window.add_plugin_dock_widget("napari-brainvae", name)
        wait(lambda: widget.source.ready)
        return widget

    widget = opened("Reconstruct and denoise")
    wait(lambda: widget._model is not None and widget._model.known == BRAINS)
    follow("brain", widget.latest, lambda i: viewer.dims.set_point(0, i % BRAINS), steps)
    viewer.window.remove_dock_widget(widget)

    _, planes = viewer.window.add_plugin_dock_widget("napari-brainvae", "Atlas")
    planes.open_atlas(atlas)
    wait(lambda: planes.latest.idle)
    viewer.window.remove_dock_widget(planes)
    widget = opened("Receptive field")
    widget.regions.select("HPF")
    follow("weight", widget.latest, lambda i: widget.weight.setValue(np.sin(i)), steps)
    viewer.window.remove_dock_widget(widget)

    widget = opened("Projective field")
    wait(lambda: widget._shown is not None and widget._shown.done)
    move = widget.position.setValue
    follow("traversal", widget.traversal, lambda i: move(7 * np.sin(i)), steps)
    viewer.window.remove_dock_widget(widget)
    viewer.close()


def follow(name: str, latest, move, steps: int) -> None:
    """Move a slider, first waiting for each answer and then not; print the delays."""
    show, shown = latest._show, []

    def show_and_note(answer) -> None:
        show(answer)
        shown.append(time.perf_counter())

    latest._show = show_and_note
    wait(lambda: latest.idle)
    noted = []
    for step in range(1, steps + 1):
        shown.clear()
        began, work = time.perf_counter(), time.thread_time()
        move(step)
        wait(lambda: shown and latest.idle)
        if step > 3:  # the first make the layers
            noted.append((shown[-1] - began, time.thread_time() - work))
    delays, own = 1e3 * np.array(noted).T
    shown.clear()
    for step in range(steps + 1, 3 * steps + 1):
        last = time.perf_counter()
        move(step)
        pause = last + 0.005
        wait(lambda pause=pause: time.perf_counter() > pause)
    wait(lambda: latest.idle)
    print(
        f"{name:10} to new pixels: median {np.median(delays):5.1f} ms, "
        f"p95 {np.percentile(delays, 95):5.1f} (work of the GUI thread, drawing included: "
        f"{np.median(own):.1f} ms); dragged through {2 * steps} positions: "
        f"{len(shown)} shown, the last {1e3 * (shown[-1] - last):.0f} ms after it was asked"
    )
    latest._show = show


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--atlas", type=Path)
    parser.add_argument("--turns", type=int, default=100)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--window", action="store_true", help="in napari; needs a screen")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    print_machine()
    with TemporaryDirectory() as name:
        anatomy = prepare(Path(name), options.atlas)
        if options.window:
            window(Path(name), anatomy, options.atlas, options.turns // 2)
        else:
            compute(Path(name), anatomy, options.turns)


if __name__ == "__main__":
    main()
