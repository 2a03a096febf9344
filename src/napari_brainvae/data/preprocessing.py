"""What is done to a section before the model sees it: crop, brightness match, clip (paper, 3.1)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy as np
import numpy.typing as npt
from pydantic import BaseModel, ConfigDict, Field

from napari_brainvae.arrays import Images
from napari_brainvae.io.errors import InputError
from napari_brainvae.io.real_numbers import real_numbers

MAX_CROP = 0.05
"""Largest share of an axis that is cropped without asking; the paper crops 456 columns to 448."""


Negatives = Literal["subtract", "clip", "refuse"]
"""What becomes of a section with negative values; see `without_negatives`."""


def check_sections(images: npt.ArrayLike, ids: Sequence[str] | None = None) -> Images:
    """Give the sections as float32, or say which of them cannot be used and why.

    Parameters
    ----------
    images
        ``(N, H, W)``, any integer or floating type.
    ids
        N names for the message; positions otherwise.

    Returns
    -------
    numpy.ndarray
        ``(N, H, W)`` float32, same values; the images themselves if they are that already.

    Raises
    ------
    InputError
        For a wrong rank or type, an empty stack, or sections that hold NaN or infinite values,
        negative values, or one and the same value everywhere.
    """
    array = real_numbers(images, "sections")
    if array.ndim == 4 and array.shape[-1] in (3, 4):
        raise InputError(
            f"colour images {array.shape}: give one channel, as sections of shape (N, H, W)"
        )
    if array.ndim != 3:
        raise InputError(f"sections must have shape (N, H, W), not {array.shape}")
    if array.size == 0:
        raise InputError(f"there are no sections: the shape is {array.shape}")
    with np.errstate(over="ignore"):  # what is too large becomes infinite, and is told below
        array = array.astype(np.float32, copy=False)
    low, high = array.min(axis=(1, 2)), array.max(axis=(1, 2))
    # A NaN or an infinity anywhere in a section shows in its extremes.
    problems = {
        "NaN or infinite values": ~(np.isfinite(low) & np.isfinite(high)),
        "negative values (brainvae gather --negatives subtract takes the background off)": low < 0,
        "one constant value": low == high,
    }
    for problem, where in problems.items():
        if where.any():
            hold = "holds" if where.sum() == 1 else "hold"
            raise InputError(f"{_some(np.flatnonzero(where), ids)} {hold} {problem}")
    return array


def _some(positions: npt.NDArray[np.intp], ids: Sequence[str] | None) -> str:
    names = [repr(ids[i]) if ids is not None else str(i) for i in positions[:3]]
    more = f" and {len(positions) - 3} more" if len(positions) > 3 else ""
    return f"section{'s' if len(positions) > 1 else ''} {', '.join(names)}{more}"


def without_negatives(section: npt.ArrayLike, how: Negatives) -> tuple[Images, str]:
    """Take negative values out of a section, and say how; one without any stays as it is.

    Parameters
    ----------
    section
        ``(H, W)``, any real type.
    how
        ``subtract`` the background, which is the median along the section's edge, and then put 0
        where something is still below it; ``clip`` puts 0 without that; ``refuse`` leaves it.

    Returns
    -------
    section : ndarray
        ``(H, W)`` float32.
    said : str
        What was done; empty if nothing was.

    Examples
    --------
    >>> dark = np.full((3, 4), -100.0)
    >>> dark[1, 1] = 20
    >>> section, said = without_negatives(dark, "subtract")
    >>> float(section[1, 1]), said
    (120.0, 'background of -100 subtracted')
    """
    image = np.asarray(section, dtype=np.float32)
    if how == "refuse" or image.size == 0 or not image.min() < 0:
        return image, ""
    said = []
    if how == "subtract":
        edge = np.concatenate([image[0], image[-1], image[:, 0], image[:, -1]])
        background = np.float32(np.median(edge))
        if background:
            image = image - background
            said.append(f"background of {background:g} subtracted")
    if (count := int((image < 0).sum())) > 0:
        said.append(f"{100 * count / image.size:.2g} % of the pixels were below 0 and are 0 now")
    return np.maximum(image, 0), ", ".join(said)


class Preprocessing(BaseModel):
    """How raw sections become what the model was fitted on; travels with every checkpoint.

    Brightness is matched, ``x * M / mean(x)``, clipped at ``clip * M`` and divided by ``clip * M``
    (paper, section 3.1). ``M`` drops out of the result, which is ``min(x / mean(x), clip) / clip``;
    it is kept to say in which units the training sections came.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    height: int = Field(ge=1, description="Rows of a section, px.")
    width: int = Field(ge=1, description="Columns of a section, px.")
    reference_brightness: float | None = Field(
        None,
        gt=0,
        allow_inf_nan=False,
        description="M, mean over the training sections of each section's mean.",
    )
    clip: float = Field(
        3.8, gt=1, allow_inf_nan=False, description="Brightest value kept, in units of the mean."
    )
    mean_over: Literal["section"] = Field(
        "section", description="Pixels whose mean is matched: all. Every file states it."
    )

    @classmethod
    def fit(cls, images: npt.ArrayLike, *, clip: float = 3.8) -> Preprocessing:
        """Fit the reference brightness to training sections ``(N, H, W)``."""
        sections = check_sections(images)
        return cls(
            height=sections.shape[1],
            width=sections.shape[2],
            reference_brightness=float(_brightness(sections).mean()),
            clip=clip,
        )

    @property
    def shape(self) -> tuple[int, int]:
        """``(H, W)`` of what comes out, px."""
        return self.height, self.width

    def apply(self, images: npt.ArrayLike, ids: Sequence[str] | None = None) -> Images:
        """Treat raw sections as the training sections were treated.

        Parameters
        ----------
        images
            ``(N, H', W')`` raw sections, any unit; cropped about the centre if slightly too large.
        ids
            N names, for messages.

        Returns
        -------
        numpy.ndarray
            ``(N, H, W)`` float32 in [0, 1].

        Raises
        ------
        InputError
            For unusable sections (see `check_sections`) or a size that does not fit.
        """
        sections = check_sections(crop_to(images, self.shape), ids)
        mean = _brightness(sections)[:, None, None]
        matched = sections / mean
        np.minimum(matched, self.clip, out=matched)
        matched /= self.clip
        return matched

    def adopt(
        self, images: npt.ArrayLike, done: Preprocessing, ids: Sequence[str] | None = None
    ) -> Images:
        """Bring sections that were preprocessed already, perhaps with another clip, to this one.

        Their values are ``min(x / mean(x), done.clip) / done.clip``, so those of this clip follow
        from them; unless a section was clipped below it, where what lay above is lost.

        Parameters
        ----------
        images
            ``(N, H', W')`` in [0, 1]; cropped about the centre if slightly too large. They are not
            matched a second time.
        done
            How they were preprocessed.
        ids
            N names, for messages.

        Returns
        -------
        numpy.ndarray
            ``(N, H, W)`` float32 in [0, 1].

        Raises
        ------
        InputError
            For a section that was clipped at less than this clip, or a size that does not fit.
        """
        sections = np.asarray(crop_to(images, self.shape), dtype=np.float32)
        lost = np.flatnonzero((sections >= 1).any(axis=(1, 2)))
        if done.clip < self.clip and lost.size:
            raise InputError(
                f"{_some(lost, ids)} reached the clip of {done.clip:g} times the mean, at which "
                f"the population was written; this model wants values up to {self.clip:g}: give "
                "the population as it was before preprocessing"
            )
        if done.clip == self.clip:
            return sections
        return np.asarray(np.minimum(sections * np.float32(done.clip / self.clip), 1))


def crop_to(images: npt.ArrayLike, shape: tuple[int, int]) -> npt.NDArray[np.generic]:
    """Crop ``(..., H', W')`` about the centre to ``(..., H, W)``.

    Raises
    ------
    InputError
        If the images are smaller, or more than `MAX_CROP` larger, along either axis.
    """
    array = np.asarray(images)
    excess = [have - want for have, want in zip(array.shape[-2:], shape, strict=True)]
    if any(e < 0 or e > MAX_CROP * w for e, w in zip(excess, shape, strict=True)):
        raise InputError(
            f"sections of {array.shape[-2]} x {array.shape[-1]} px do not fit a model for "
            f"{shape[0]} x {shape[1]} px; brainvae gather POPULATION --like MODEL --out NEW.zarr "
            "makes them fit by their um"
        )
    top, left = excess[0] // 2, excess[1] // 2
    return array[..., top : top + shape[0], left : left + shape[1]]


def _brightness(sections: Images) -> npt.NDArray[np.float32]:
    """Mean of each section ``(N, H, W)`` over all its pixels, ``(N,)``."""
    return np.asarray(sections.mean(axis=(1, 2), dtype=np.float64), dtype=np.float32)
