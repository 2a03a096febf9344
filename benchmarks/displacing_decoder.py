"""A decoder that displaces tissue, fitted jointly, against linear factors of the same number.

    python benchmarks/displacing_decoder.py --atlas ATLAS_FOLDER

A section is the mean, brightened by ``1 + z b`` and warped by ``z u``: a factor is a smooth
displacement u and a smooth brightness b, both on a coarse grid. Mean, fields and the codes of 300
brains are fitted together (Adam); of 100 other brains only the codes are sought. Baselines are the
trimmed principal components of recipe fast, and those of smoothed sections (the amount by
cross-validation), at the same L. Phantoms on the real template without artifacts, 80 x 112 px
(100 um), regions of 18 % brightness, with small and with large displacements. Printed are mean
squared errors of the 100 brains against their clean sections, x 1e-4, and the paired difference in
per cent with its 95 % t interval.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import torch
from scipy import stats
from torch import Tensor
from torch.nn import Parameter
from torch.nn import functional as F

from napari_brainvae.atlas.atlas import Atlas
from napari_brainvae.data.preprocessing import Preprocessing
from napari_brainvae.models.smooth_components import choose_smoothing, smooth_components
from napari_brainvae.phantom.phantom import Phantom, PhantomOptions, section_from_atlas

SHAPE, COARSE = (80, 112), (20, 28)
FITTED, OTHERS = 300, 100
PRIOR, SMOOTH_U, SMOOTH_B = 0.02, 1e-4, 1e-3
POPULATIONS = {"small (25 um, 6 %)": (25.0, 0.06), "large (100 um, 20 %)": (100.0, 0.2)}


class Displacing(torch.nn.Module):
    """The decoder: codes ``(N, L)`` to sections ``(N, H, W)``."""

    def __init__(self, mean: Tensor, count: int) -> None:
        super().__init__()
        self.mean = Parameter(mean.clone())
        self.displacement = Parameter(0.05 * torch.randn(2 * count, *COARSE))
        self.brightness = Parameter(0.01 * torch.randn(count, *COARSE))
        axes = [torch.linspace(-1, 1, size) for size in SHAPE]
        rows, columns = torch.meshgrid(*axes, indexing="ij")
        self.grid = torch.stack([columns, rows], dim=-1)
        self.to_grid = 2 / (torch.tensor(SHAPE[::-1]) - 1)  # px to grid_sample's unit

    def forward(self, codes: Tensor) -> Tensor:
        """Warp the brightened mean."""
        count = codes.shape[1]
        moves = fine(self.displacement).view(count, 2, *SHAPE)
        bright = self.mean * (1 + torch.einsum("nl,lhw->nhw", codes, fine(self.brightness)))
        field = torch.einsum("nl,lchw->nhwc", codes, moves) * self.to_grid
        warped = F.grid_sample(
            bright[:, None], self.grid + field, padding_mode="border", align_corners=True
        )
        return warped[:, 0]

    def roughness(self) -> Tensor:
        """What keeps the fields smooth."""
        return SMOOTH_U * steps(self.displacement) + SMOOTH_B * steps(self.brightness)


def fine(coarse: Tensor) -> Tensor:
    """Fields ``(C, h, w)`` at full size."""
    return F.interpolate(coarse[None], size=SHAPE, mode="bicubic", align_corners=True)[0]


def steps(field: Tensor) -> Tensor:
    """Squared steps between neighbours."""
    return field.diff(dim=-1).square().sum() + field.diff(dim=-2).square().sum()


def fit_jointly(sections: Tensor, codes: Tensor, count: int) -> Displacing:
    torch.manual_seed(0)
    model, free = Displacing(sections.mean(dim=0), count), Parameter(codes.clone())
    rates = {model.displacement: 0.03, model.brightness: 0.005, model.mean: 0.001, free: 0.03}
    optimizer = torch.optim.Adam([{"params": [p], "lr": rate} for p, rate in rates.items()])
    for step in range(250):
        optimizer.zero_grad()
        loss = objective(model, free, sections) + model.roughness()
        loss.backward()
        optimizer.step()
        if step == 175:
            for group in optimizer.param_groups:
                group["lr"] *= 0.3
    return model


def objective(model: Displacing, codes: Tensor, sections: Tensor) -> Tensor:
    error = (model(codes) - sections).square().sum(dim=(1, 2)).mean()
    return error + PRIOR * codes.square().sum(dim=1).mean()


def reconstruct(model: Displacing, sections: Tensor, codes: Tensor) -> np.ndarray:
    """Seek the codes of other brains, from those of the linear factors on."""
    model.requires_grad_(False)
    free = Parameter(codes.clone())
    optimizer = torch.optim.Adam([free], lr=0.05)
    for step in range(80):
        optimizer.zero_grad()
        objective(model, free, sections).backward()
        optimizer.step()
        if step == 60:
            optimizer.param_groups[0]["lr"] = 0.01
    return model(free).detach().numpy()


def population(atlas: Atlas, misalignment: float, thickness: float, seed: int):
    options = PhantomOptions(
        count=FITTED + OTHERS, seed=seed, height=SHAPE[0], width=SHAPE[1], plane=293, artifacts=0,
        brightness=0.18, thickness=thickness, misalignment_um=misalignment,
    )  # fmt: skip
    phantom = Phantom(section_from_atlas(atlas, 293, *SHAPE), options)
    brains = [phantom.brain(i) for i in range(len(phantom))]
    raw = np.stack([brain.image for brain in brains])
    matched = Preprocessing.fit(raw[:FITTED])
    return matched.apply(raw), matched.apply(np.stack([brain.clean for brain in brains]))


def linear(images: np.ndarray, count: int, sigma: float) -> tuple[np.ndarray, np.ndarray]:
    """Codes of all sections, and reconstructions, by components of those fitted."""
    mean, components, variances = smooth_components(images[:FITTED], count, sigma)
    rows, scales = components.reshape(count, -1), np.sqrt(variances)
    scores = (images - mean).reshape(len(images), -1) @ rows.T
    return scores / scales, mean + (scores @ rows).reshape(images.shape)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--atlas", type=Path, required=True, help="with a template of plane 293")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    options = parser.parse_args()
    torch.set_num_threads(2)
    atlas = Atlas.open(options.atlas)
    for name, sizes in POPULATIONS.items():
        for seed in options.seeds:
            images, clean = population(atlas, *sizes, seed)
            for count in (8, 12):
                compare(name, seed, images, clean, count)


def compare(name: str, seed: int, images: np.ndarray, clean: np.ndarray, count: int) -> None:
    def error(decoded: np.ndarray) -> np.ndarray:
        return 1e4 * np.square(decoded - clean[FITTED:]).mean(axis=(1, 2))

    codes, plain = linear(images, count, 0.0)
    sigma, _ = choose_smoothing(images[:FITTED], count)
    _, smooth = linear(images, count, sigma)
    start = torch.from_numpy(codes.astype(np.float32))
    sections = torch.from_numpy(images)
    model = fit_jointly(sections[:FITTED], start[:FITTED], count)
    displaced = error(reconstruct(model, sections[FITTED:], start[FITTED:]))
    print(f"{name}, seed {seed}, L = {count}: displacing {displaced.mean():.2f}", end="")
    for label, decoded in (("linear", plain), (f"smoothed {sigma:g} px", smooth)):
        before = error(decoded[FITTED:])
        gain = 100 * (before - displaced) / before.mean()
        half = stats.t.ppf(0.975, OTHERS - 1) * gain.std(ddof=1) / np.sqrt(OTHERS)
        low, high = gain.mean() - half, gain.mean() + half
        said = f"lower by {gain.mean():.1f} % [{low:.1f}, {high:.1f}]"
        print(f"; than {label} {before.mean():.2f} {said}", end="")
    print(flush=True)


if __name__ == "__main__":
    main()
