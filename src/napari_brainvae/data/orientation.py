"""Where the axes of an array begin: the one place where left and right are decided.

An orientation is three letters, one an axis, each saying at which end of the animal the axis
begins: ``asl`` is an array (AP, DV, ML) whose first plane is the most anterior, whose first row is
the most dorsal (superior) and whose first column is the animal's left. So BrainGlobe writes it;
NIfTI's ``RAS`` says where the axes *end* and is ``lpi`` here.

Inside this program every section and every volume is `INSIDE`. What comes otherwise is turned on
its way in, by `reorient`, and by nothing else.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from napari_brainvae.data.lazy_sections import LazySections
from napari_brainvae.io.errors import InputError

INSIDE = "asl"
"""Anterior, superior (dorsal), left: how everything lies in this program."""

OPPOSITE = dict(zip("apsilr", "paisrl", strict=True))
"""The other end of each axis."""

WORDS = {
    "a": ("anterior", "rostral"),
    "p": ("posterior", "caudal"),
    "s": ("superior", "dorsal"),
    "i": ("inferior", "ventral"),
    "l": ("left",),
    "r": ("right",),
}
"""What the ends are called in files that use words."""


def check_orientation(text: str) -> str:
    """Give an orientation in small letters.

    Raises
    ------
    InputError
        If it is none.

    Examples
    --------
    >>> check_orientation("ASR")
    'asr'
    """
    letters = text.strip().lower()
    pairs = sorted("".join(sorted(letter + OPPOSITE.get(letter, ""))) for letter in letters)
    if pairs != ["ap", "is", "lr"]:
        raise InputError(
            f"an orientation is three letters such as asr, for the ends of the animal at which the "
            f"axes begin (a or p, s or i, l or r), not {text!r}"
        )
    return letters


def of_axis_ends(ends: Sequence[str]) -> str:
    """Give the orientation whose axes end at ``ends``, as nibabel's ``aff2axcodes`` names them.

    Examples
    --------
    >>> of_axis_ends(("R", "A", "S"))
    'lpi'
    """
    return check_orientation("".join(OPPOSITE.get(end.lower(), end) for end in ends))


def of_words(begins: Sequence[str]) -> str | None:
    """Give the orientation whose axes begin at these words, or None if they say none.

    Examples
    --------
    >>> of_words(["anterior-to-posterior", "dorsal-to-ventral", "right-to-left"])
    'asr'
    """
    first = [word.lower().split("-")[0] for word in begins]
    letters = "".join(key for word in first for key, names in WORDS.items() if word in names)
    return check_orientation(letters) if len(letters) == len(begins) == 3 else None


def axis_of(orientation: str, letter: str) -> tuple[int, bool]:
    """Say which axis runs from or to the end ``letter``, and whether it runs *to* it.

    Examples
    --------
    >>> axis_of("asr", "l")
    (2, True)
    """
    if letter in orientation:
        return orientation.index(letter), False
    return orientation.index(OPPOSITE[letter]), True


def is_turned(orientation: str) -> bool:
    """Whether sections of this orientation are turned on their way in."""
    return any(axis_of(orientation, letter) != (i, False) for i, letter in enumerate(INSIDE))


def reorient(volume: npt.NDArray[Any], orientation: str, to: str = INSIDE) -> npt.NDArray[Any]:
    """Turn a volume ``(A, B, C)`` into another orientation; a view, nothing is copied.

    Parameters
    ----------
    volume
        Of any type.
    orientation
        Of the volume.
    to
        Of the result.

    Examples
    --------
    >>> right_first = np.arange(24).reshape(2, 3, 4)
    >>> bool((reorient(right_first, "asr") == right_first[:, :, ::-1]).all())
    True
    """
    places = [axis_of(orientation, letter) for letter in to]
    turned = volume.transpose([axis for axis, _ in places])
    steps = tuple(slice(None, None, -1 if flipped else 1) for _, flipped in places)
    return np.asarray(turned[steps])


def spacing_inside(spacing: Sequence[Any], orientation: str) -> tuple[Any, Any, Any]:
    """Give something that each axis has, such as its voxel size, as (AP, DV, ML)."""
    first, second, third = (spacing[axis_of(orientation, letter)[0]] for letter in INSIDE)
    return first, second, third


def read_planes(voxels: Any, orientation: str, first: int, last: int) -> npt.NDArray[Any]:
    """Read the coronal planes ``first`` to ``last`` of a volume, ``(P, DV, ML)``, turned `INSIDE`.

    Parameters
    ----------
    voxels
        Anything with a ``shape`` that gives an array when it is sliced; of a file, only what is
        asked for is read.
    orientation
        Of the voxels.
    first, last
        Counted from the front of the animal; both are read.
    """
    axis, flipped = axis_of(orientation, INSIDE[0])
    count = voxels.shape[axis]
    part = slice(count - 1 - last, count - first) if flipped else slice(first, last + 1)
    index = tuple(part if i == axis else slice(None) for i in range(3))
    return reorient(np.asarray(voxels[index]), orientation)


class TurnedSections(LazySections):
    """Sections of a file that lie otherwise than `INSIDE`, turned as they are read.

    Parameters
    ----------
    sections
        ``(N, H, W)`` as stored, read when they are indexed.
    orientation
        Of coronal sections as stored: ``asr`` has the animal's right first.

    Raises
    ------
    InputError
        If their rows and columns are not dorsal-ventral and left-right.
    """

    def __init__(self, sections: LazySections, orientation: str) -> None:
        if [axis_of(orientation, letter)[0] for letter in INSIDE] != [0, 1, 2]:
            raise InputError(
                f"sections are coronal, such as asr: their orientation cannot be {orientation}"
            )
        super().__init__(sections.path, sections.shape, sections.dtype)
        self._sections, self._orientation = sections, orientation

    def _read(self, index: int) -> npt.NDArray[Any]:
        return turned_section(self._sections.read(index), self._orientation)


def turned_section(section: npt.NDArray[Any], orientation: str) -> npt.NDArray[Any]:
    """Turn one coronal section ``(H, W)`` of this orientation `INSIDE`; a view."""
    return np.asarray(reorient(section[None], orientation)[0])
