"""Record the loop of the docs as a GIF, from a real window: ``make recording``.

The hands of the tests open, fit, exclude and fit again; each movement is a frame with its caption.
On a screen of its own (Xvfb), since the whole screen is recorded. ``python docs/record_loop.py
FILE.npz OUT.gif`` records another population, which is then yours to show.
"""

from __future__ import annotations

import sys
from pathlib import Path
from tempfile import TemporaryDirectory

import napari
import numpy as np
from PIL import Image, ImageColor, ImageDraw, ImageFont
from qtpy.QtCore import QPoint
from qtpy.QtGui import QImage
from qtpy.QtWidgets import QApplication

from napari_brainvae.data.population import Population
from napari_brainvae.phantom.demo import DEMO
from napari_brainvae.phantom.phantom import Phantom, draw_section, write_phantom
from tests.widgets.hands import Hands
from tests.widgets.loop_by_hand import walk

GIF = Path(__file__).parent / "images" / "closed_loop.gif"
SIZE, WIDTH, COLORS = (1366, 768), 860, 80
"""Of the window, px; of the recording, px; of its palette."""

MARKED = ("#ffcc00", "#e5484d", "#ff8c26", "#40a6ff")
"""What has few pixels, and is to keep its colour: the mouse, excluded, brighter, darker."""

SHOWN_MS, SCROLLED_MS, LAST_MS = 1100, 120, 4000
"""How long a click, a step of a scroll or a drag, and the end are shown."""

MOVING = ("scroll", "drag")


class Recorder:
    """Takes the screen at each movement."""

    def __init__(self) -> None:
        self.frames: list[Image.Image] = []
        self.times: list[int] = []
        self._said, self._moves = "", 0

    def __call__(self, said: str, at: QPoint | None) -> None:
        """Take a frame; of what only moves on every second, for a moment."""
        QApplication.processEvents()
        moving = said.startswith(MOVING) and said == self._said
        self._moves = self._moves + 1 if moving else 0
        self._said = said
        if self._moves % 2:
            return
        frame = taken()
        if at is not None:
            point(frame, at)
        frame = frame.resize((WIDTH, round(frame.height * WIDTH / frame.width)))
        self.frames.append(captioned(frame, said))
        self.times.append(SCROLLED_MS if moving else SHOWN_MS)

    def save(self, path: Path) -> None:
        """Write the recording; all frames have one palette, so that only what changes is kept."""
        self.times[-1] = LAST_MS
        seen = np.concatenate([np.asarray(frame)[::8, ::8] for frame in self.frames])
        seen[:, :8] = np.resize([ImageColor.getrgb(each) for each in MARKED], (len(seen), 8, 3))
        sample = Image.fromarray(seen)
        palette = sample.quantize(COLORS)
        first, *others = (
            f.quantize(palette=palette, dither=Image.Dither.NONE) for f in self.frames
        )
        first.save(path, save_all=True, append_images=others, duration=self.times, loop=0)
        print(f"{path}: {len(self.frames)} frames, {path.stat().st_size / 1e6:.1f} MB")


def taken() -> Image.Image:
    """The upper left of the screen, where the window is, with its menus and dialogs."""
    grabbed = QApplication.primaryScreen().grabWindow(0, 0, 0, *SIZE).toImage()
    grabbed = grabbed.convertToFormat(QImage.Format.Format_RGBA8888)
    pixels = grabbed.constBits()
    pixels.setsize(grabbed.sizeInBytes())
    rgba = np.frombuffer(pixels, np.uint8).reshape(grabbed.height(), grabbed.width(), 4)
    return Image.fromarray(rgba[..., :3].copy())


def point(frame: Image.Image, at: QPoint) -> None:
    """Ring the place of the mouse."""
    draw, x, y = ImageDraw.Draw(frame), at.x(), at.y()
    draw.ellipse((x - 14, y - 14, x + 14, y + 14), outline="#ffcc00", width=4)


def captioned(frame: Image.Image, said: str) -> Image.Image:
    """Write below a frame what is done in it."""
    whole = Image.new("RGB", (frame.width, frame.height + 34), "#202020")
    whole.paste(frame)
    font = ImageFont.load_default(18)
    ImageDraw.Draw(whole).text((10, frame.height + 7), said, fill="white", font=font)
    return whole


def brains(folder: Path) -> Path:
    """The phantom brains of the demo, of which nothing is known yet, as an array in a file."""
    write_phantom(Phantom(draw_section(DEMO.height, DEMO.width), DEMO), folder / "made.zarr")
    made, sections = Population.open(folder / "made.zarr"), folder / "sections"
    sections.mkdir()
    np.savez(sections / "mice.npz", images=made.sections(), ids=made.ids)
    return sections / "mice.npz"


def record(file: Path, path: Path) -> None:
    """Go around the loop once with the sections of a file."""
    viewer = napari.Viewer()
    viewer.window._qt_window.setGeometry(0, 0, *SIZE)
    QApplication.processEvents()
    recorder = Recorder()
    recorder("an empty napari", None)
    walk(Hands(viewer, recorder), file, {"latent_dim": "4", "steps": "60"})
    recorder("the nearest real brain, beside what the model draws", None)
    recorder.save(path)
    viewer.close()


if __name__ == "__main__":
    with TemporaryDirectory(prefix="brains-") as folder:
        given = [Path(each) for each in sys.argv[1:]]
        file, path = given if given else (brains(Path(folder)), GIF)
        record(file, path)
