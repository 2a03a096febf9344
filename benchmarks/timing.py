"""What benchmarks share: alternatives that take turns, and what they ran on."""

from __future__ import annotations

import platform
import re
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from benchmarks.training_step import Plain
from napari_brainvae.arrays import Images, Latents
from napari_brainvae.atlas.atlas import Atlas
from napari_brainvae.data.preprocessing import Preprocessing
from napari_brainvae.models.base import Model
from napari_brainvae.models.header import Header
from napari_brainvae.models.vae import BetaVAE
from napari_brainvae.phantom.phantom import TemplateSection, draw_section, section_from_atlas

HEIGHT, WIDTH, FACTORS = 320, 448, 8


class Times(NamedTuple):
    """Seconds of every turn, by the clock and of this process's own work.

    On a machine that is shared with other work the second is what the code costs.
    """

    clock: NDArray[np.float64]
    cpu: NDArray[np.float64]


def in_turns(
    variants: dict[str, Callable[[int], Any]], turns: int, warm_up: int = 2
) -> dict[str, Times]:
    """Time each variant, called with the number of the turn, once a turn, one after the other."""
    noted = {name: np.empty((2, turns)) for name in variants}
    for turn in range(-warm_up, turns):
        for name, run in variants.items():
            before = time.perf_counter(), time.process_time()
            run(turn)
            after = time.perf_counter(), time.process_time()
            if turn >= 0:
                noted[name][:, turn] = np.subtract(after, before)
    return {name: Times(*times) for name, times in noted.items()}


def print_times(times: dict[str, Times], ratios: list[tuple[str, str]]) -> None:
    """Print milliseconds of each variant, and ratios of some to others, turn by turn."""
    print(f"{'':26}{'ms of CPU':>10}{'by the clock':>49}")
    print(f"{'':26}" + 2 * f"{'median':>10}{'quartiles':>18}{'p95':>9}{'least':>9}")
    for name, each in times.items():
        print(f"{name:26}" + "".join(_row(1e3 * seconds) for seconds in (each.cpu, each.clock)))
    for name, base in ratios:
        cpu, clock = (a / b for a, b in zip(times[name], times[base], strict=True))
        print(
            f"  {name} / {base}: CPU {np.median(cpu):.3f} ({quartiles(cpu, 3)}), "
            f"clock {np.median(clock):.3f} ({quartiles(clock, 3)})"
        )


def _row(ms: NDArray[np.float64]) -> str:
    middle = f" {np.median(ms):9.1f} {quartiles(ms, 1):>17}"
    return f"{middle} {np.percentile(ms, 95):8.1f} {ms.min():8.1f}"


def quartiles(values: NDArray[np.float64], digits: int) -> str:
    """Say the quartiles."""
    low, high = np.percentile(values, [25, 75])
    return f"{low:.{digits}f}-{high:.{digits}f}"


def print_machine() -> None:
    """Say what this ran on."""
    try:
        with open("/proc/cpuinfo") as file:
            names = [line.split(":")[1].strip() for line in file if line.startswith("model name")]
    except OSError:
        names = [platform.processor()]
    print(
        f"{len(names)} x {names[0]}, {torch.get_num_threads()} thread(s), "
        f"{torch.backends.cpu.get_cpu_capability()}; "
        f"Python {platform.python_version()}, torch {torch.__version__}, NumPy {np.__version__}"
    )


def peak_memory(process: int | str = "self") -> float:
    """Most memory a process has had, MB (Linux); 0 if it has ended."""
    status = Path(f"/proc/{process}/status").read_text()
    found = re.search(r"VmHWM:\s+(\d+) kB", status)
    return int(found[1]) / 1024 if found else 0.0


def full_section(atlas: Path | None) -> TemplateSection:
    """Anatomy at the paper's size: of its plane in an atlas, or drawn."""
    if atlas is None:
        return draw_section(HEIGHT, WIDTH)
    return section_from_atlas(Atlas.open(atlas), 286, HEIGHT, WIDTH)


def fresh_model() -> BetaVAE:
    """Make a model of the paper's size; what it has learnt does not matter to how long it takes."""
    torch.manual_seed(0)
    size = {"height": HEIGHT, "width": WIDTH}
    preprocessing = Preprocessing(**size)
    return BetaVAE(Header(kind="vae", latent_dim=FACTORS, preprocessing=preprocessing, **size))


class PlainModel(Model):
    """The authors' network with the same weights, called as it is, one section at a time."""

    def __init__(self, model: BetaVAE) -> None:
        super().__init__(model.header)
        network = model.network
        if network.shortcut_in is not None or network.mean_image.any():
            raise ValueError("the plain network has neither mean image nor shortcut")
        self.network = Plain().eval()
        state = {k: v for k, v in network.state_dict().items() if not k.startswith("mean")}
        self.network.load_state_dict(state)

    def _tensors(self) -> dict[str, NDArray[Any]]:
        """Nothing: it is never saved."""
        return {}

    @torch.no_grad()
    def _encode(self, images: Images) -> tuple[Latents, Latents]:
        codes = [self.network.encoder(torch.from_numpy(i)[None, None]).chunk(2, 1) for i in images]
        mean, log_variance = (torch.cat(part).numpy() for part in zip(*codes, strict=True))
        return mean, log_variance

    @torch.no_grad()
    def _decode(self, latents: Latents) -> Images:
        drawn = [torch.sigmoid(self.network.decoder(z[None])) for z in torch.from_numpy(latents)]
        return torch.cat(drawn)[:, 0].numpy()
