"""Generated sections on paper and as a movie: what a window plays and a command writes."""

from __future__ import annotations

import json
import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import tifffile

from napari_brainvae.data.population import Population
from napari_brainvae.data.tissue import brain_mask
from napari_brainvae.denoising.reconstruction import ome_metadata
from napari_brainvae.factors.field_colours import change_limit, signed_panel
from napari_brainvae.factors.path_options import PathOptions
from napari_brainvae.factors.traversal import Traversal, traversal
from napari_brainvae.io.atomic_files import recover
from napari_brainvae.io.errors import InputError
from napari_brainvae.io.progress import Progress, report
from napari_brainvae.models.base import Model
from napari_brainvae.reporting.export import results_folder, write_table
from napari_brainvae.reporting.paper_figures import MATPLOTLIB, save_figure
from napari_brainvae.reporting.provenance import Provenance, provenance
from napari_brainvae.reporting.section_axes import PAGE, frame, show

# What draws is imported where it draws.
if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from PIL.Image import Image

Pixels = npt.NDArray[np.uint8]

CODES = "codes.csv"
DPI = 100
FRAME_MS, REST_MS = 80, 800
"""How long a frame is shown, and the first and the last of them."""

GREYS = 64
"""Of the 256 colours of a GIF."""

LEAST_WIDE = 360
"""Of a section in a movie, px: smaller ones are drawn larger, pixel by pixel."""

_TEXT = 44  # above and below the sections, px
_GAP = 8  # between them


def write_traversal(
    folder: Path,
    model: Model,
    population: Population,
    options: PathOptions,
    *,
    overwrite: bool = False,
    progress: Progress | None = None,
) -> None:
    """Generate sections and write them to a folder; all of it is there at the end, or nothing.

    A movie is movie.gif, and each of its frames in the folder frames; one section is generated.png
    and .svg. Beside them are codes.csv, a row a section, generated.ome.tif (sections and their
    changes, not rounded to colours), and record.json.

    Raises
    ------
    InputError
        As `factors.traversal.traversal`, or if the folder holds generated sections already, or
        results of something else.
    Stopped
        If ``progress`` asked to stop.
    """
    if not overwrite and (recover(Path(folder).absolute()) / CODES).exists():
        # Of a longer movie, some frames would stay among those of this one.
        raise InputError(f"{folder} holds generated sections already: choose another folder")
    known = population.description
    size = model.pixel_size_um(known.pixel_size_um)
    plane = known.plane if known.plane is not None else model.header.plane
    about = provenance(options, population, {model.label: model}, plane=plane, pixel_size_um=size)

    def decoding(done: int, total: int) -> None:
        report(progress, done, 2 * total)

    def drawing(done: int, total: int) -> None:
        report(progress, total + done, 2 * total)

    found = traversal(model, population, options, progress=decoding)
    picture = _Picture(found, size, plane, model.label)
    with results_folder(folder, about, overwrite=overwrite) as beside:
        _write_numbers(beside, found, size, about)
        if options.movie:
            _write_movie(beside, picture, len(found.codes), about, drawing)
        else:
            with MATPLOTLIB:
                save_figure(picture.draw(0), beside / "generated", about)


def _write_numbers(
    folder: Path, found: Traversal, pixel_size_um: float | None, about: Provenance
) -> None:
    names = [f"frame {i + 1}" for i in range(len(found.codes))]
    table = pd.DataFrame(found.codes, columns=[f"F{i + 1}" for i in range(found.codes.shape[1])])
    table.insert(0, "frame", range(1, len(table) + 1))
    write_table(table, folder / CODES, about)
    text = f"Generated sections. {json.dumps(about, sort_keys=True)}"
    metadata = ome_metadata(pixel_size_um, text, "QCYX", what="frame", names=names)
    metadata["Channel"] = {"Name": ["section", f"change from {found.against}"]}
    both = np.stack([found.sections, found.changes], axis=1)
    tifffile.imwrite(folder / "generated.ome.tif", both, ome=True, metadata=metadata)


def _write_movie(
    folder: Path,
    picture: _Picture,
    count: int,
    about: Provenance,
    progress: Progress,
) -> None:
    from PIL import Image
    from PIL.PngImagePlugin import PngInfo

    said = json.dumps(about, sort_keys=True)
    info = PngInfo()
    info.add_text("Description", said)
    (folder / "frames").mkdir()
    frames = []
    for i, pixels in enumerate(picture.frames(count)):
        progress(i, count)
        frames.append(Image.fromarray(pixels))
        frames[-1].save(folder / "frames" / f"frame_{i + 1:03}.png", pnginfo=info)
    # One palette for all: else still tissue would flicker.
    palette = _palette([frames[i] for i in sorted({0, count // 2, count - 1})])
    plain = [each.quantize(palette=palette, dither=Image.Dither.NONE) for each in frames]
    plain[0].save(
        folder / "movie.gif",
        save_all=True,
        append_images=plain[1:],
        duration=[REST_MS, *[FRAME_MS] * (count - 2), REST_MS],
        loop=0,
        comment=said.encode(),
    )
    progress(count, count)


def _palette(frames: list[Image]) -> Image:
    """Greys for the sections, and as many colours as are left for the changes beside them."""
    from PIL import Image

    changes = [np.asarray(each)[:, each.width // 2 :] for each in frames]
    colored = Image.fromarray(np.concatenate(changes)).quantize(256 - GREYS).getpalette() or []
    greys = np.linspace(0, 255, GREYS).round().astype(int).repeat(3).tolist()
    palette = Image.new("P", (1, 1))
    palette.putpalette(colored[: 3 * (256 - GREYS)] + greys)
    return palette


class _Picture:
    """A generated section and beside it how it differs; scales are the same in all frames."""

    def __init__(
        self, found: Traversal, pixel_size_um: float | None, plane: int | None, model: str
    ) -> None:
        self._found, self._model = found, model
        self._size, self._plane = pixel_size_um, plane
        self._bright = max(float(np.percentile(found.sections, 99.8)), 1e-6)
        mean = found.reference
        self._level = float(mean[brain_mask(mean)].mean()) if np.ptp(mean) else 1.0
        self._limit = max(change_limit(each) for each in found.changes[[len(found.codes) // 2, -1]])

    def frames(self, count: int) -> Iterator[Pixels]:
        """Give each frame, ``(h, w, 3)``."""
        from matplotlib.backends.backend_agg import FigureCanvasAgg

        for i in range(count):
            with MATPLOTLIB:
                canvas: Any = FigureCanvasAgg(self.draw(i))
                canvas.draw()
                pixels = np.asarray(canvas.buffer_rgba())[..., :3].copy()
            yield pixels

    def draw(self, i: int) -> Figure:
        """Draw a frame."""
        from matplotlib.figure import Figure

        section, change = self._found.sections[i], self._found.changes[i]
        height, width = section.shape
        times = max(1, round(LEAST_WIDE / width))
        wide, tall = times * width, times * height
        across = 2 * wide + _GAP
        dpi = max(DPI, across / PAGE)  # no smaller in print than drawn
        band = round(_TEXT * dpi / DPI)
        whole = across, tall + 2 * band
        figure = Figure(figsize=(whole[0] / dpi, whole[1] / dpi), dpi=dpi, facecolor="black")
        grey = signed_panel(np.zeros_like(section), section, self._bright, None)
        colored = signed_panel(change, section, 1.3 * self._bright, None, self._limit)
        texts = "generated section", f"change from {self._found.against}"
        for left, pixels, text in zip((0, wide + _GAP), (grey, colored), texts, strict=True):
            box = (left / whole[0], band / whole[1], wide / whole[0], tall / whole[1])
            axes = figure.add_axes(box)
            show(axes, pixels)
            frame(axes, section.shape, self._size, self._plane)
            axes.set_title(text, fontsize=9, color="white", pad=5)
        self._write(figure, i)
        return figure

    def _write(self, figure: Figure, i: int) -> None:
        look: dict[str, Any] = {"color": "white", "fontsize": 8, "va": "center"}
        middle = _TEXT / 2 / DPI / figure.get_figheight()
        options = self._found.options
        if options.movie:
            share = 100 * i / (len(self._found.codes) - 1)
            how = f"{share:.0f} % of the way from {options.from_brain} to {options.to_brain}"
            how += " (linear in the codes)"
        else:
            codes = self._found.codes[0]
            # Each with its name on one line.
            how = "  ".join(f"F{j + 1}\xa0{code:+.2f}" for j, code in enumerate(codes))
        across = int(figure.get_figwidth() * DPI / 2 / 6.5)  # letters beneath a section
        lines = textwrap.wrap(f"{how}  {self._model}", across)[:3]
        figure.text(0.01, middle, "\n".join(lines), **look)
        full = f"full colour: ±{100 * self._limit / self._level:.0f} % of the mean brightness"
        figure.text(0.99, middle, f"red brighter, blue darker\n{full}", ha="right", **look)
