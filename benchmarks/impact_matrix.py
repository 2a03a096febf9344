"""Time the impact matrix of a population beside the loops that a lab would write.

    python benchmarks/impact_matrix.py [--atlas DIR] [--sections 8] [--turns 7] [--threads 1]

The paper's six regions, perturbed at two extremes, in sections of 320 x 448 px. The plain loop
encodes one perturbed section at a time with the authors' network as it is; the batched loop encodes
whole sections as this package does, batched and with the channels last. A sample of the sections is
measured and scaled to 832. With --atlas, sections and regions are those of a real template.
"""

from __future__ import annotations

import argparse
from pathlib import Path

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
from napari_brainvae.arrays import Images
from napari_brainvae.atlas.regions import DEFAULT_REGIONS
from napari_brainvae.data.preprocessing import Preprocessing
from napari_brainvae.factors.impact import ImpactOptions, impact_matrix
from napari_brainvae.factors.receptive_field import Mask, perturb
from napari_brainvae.models.base import Model
from napari_brainvae.models.incremental_encoder import LAYERS, reach
from napari_brainvae.phantom.phantom import Phantom, PhantomOptions

WEIGHTS = (-1.0, 1.0)
PAPER = 832


def plain_loop(model: Model, images: Images, regions: dict[str, Mask], mode: str) -> Images:
    """Perturb and encode one section at a time: posterior means ``(R, 2, N, L)``."""
    means = np.empty((len(regions), 2, len(images), model.latent_dim), np.float32)
    for i, section in enumerate(images):
        for r, mask in enumerate(regions.values()):
            for e, weight in enumerate(WEIGHTS):
                means[r, e, i] = model.encode(perturb(section, mask, weight, mode)[None])[0][0]
    return means


def batched_loop(model: Model, images: Images, regions: dict[str, Mask], mode: str) -> Images:
    """Perturb and encode all sections at once; fast, but every section is encoded whole."""
    return np.stack(
        [
            [model.encode(perturb(images, mask, weight, mode))[0] for weight in WEIGHTS]
            for mask in regions.values()
        ]
    )


def sections_and_regions(atlas: Path | None, count: int) -> tuple[Images, dict[str, Mask]]:
    anatomy = full_section(atlas)
    phantom = Phantom(anatomy, PhantomOptions(count=count, artifacts=0))
    images = np.stack([phantom.brain(i).image for i in range(count)])
    masks = {name: anatomy.tree.within(anatomy.annotation, name) for name in DEFAULT_REGIONS}
    return Preprocessing.fit(images).apply(images), masks


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--atlas", type=Path)
    parser.add_argument("--sections", type=int, default=8, help="measured, and scaled to 832")
    parser.add_argument("--turns", type=int, default=7)
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    print_machine()
    images, regions = sections_and_regions(options.atlas, options.sections)
    model = fresh_model()
    plain = PlainModel(model)
    print(
        f"{'region':8}{'of the section':>15}" + "".join(f"{f'layer {i + 1}':>9}" for i in range(3))
    )
    for name, mask in regions.items():
        where = reach(mask, model.network.padding)
        sizes = [len(step.stretches) // 4 for step in where.steps]
        outputs = [mask.size / 4 ** (i + 1) for i in range(LAYERS)]
        shares = [size / all_ for size, all_ in zip(sizes, outputs, strict=True)]
        print(f"{name:8}{mask.mean():15.1%}" + "".join(f"{share:9.1%}" for share in shares))
    for mode in ("content", "fill"):
        ask = ImpactOptions(mode=mode, resamples=0)
        ours = impact_matrix(model, images, regions, ask).mean
        expected = plain_loop(plain, images, regions, mode)
        error = np.abs(ours - expected).max() / np.abs(expected).max()
        print(f"\n{mode}: largest difference {error:.1e} of the largest code")
        times = in_turns(
            {
                "plain loop": lambda _, mode=mode: plain_loop(plain, images, regions, mode),
                "batched loop": lambda _, mode=mode: batched_loop(model, images, regions, mode),
                "impact_matrix": lambda _, ask=ask: impact_matrix(model, images, regions, ask),
            },
            options.turns,
            warm_up=1,
        )
        print_times(times, [("impact_matrix", "plain loop"), ("impact_matrix", "batched loop")])
        for name, each in times.items():
            seconds = np.median(each.cpu) * PAPER / len(images)
            print(f"{name}: {PAPER} sections {seconds:.0f} s of CPU, scaled from {len(images)}")


if __name__ == "__main__":
    main()
