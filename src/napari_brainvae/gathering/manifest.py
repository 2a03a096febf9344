"""Which brains are gathered, and how far each of them is."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from napari_brainvae.data.brain_manifest import BrainManifest
from napari_brainvae.data.gather_facts import Settled
from napari_brainvae.data.gather_inputs import Source, all_files
from napari_brainvae.io.errors import InputError
from napari_brainvae.io.file_stamp import file_stamp, sha256_of


@dataclass
class Outcome:
    """What became of one brain."""

    status: str
    error: str = ""
    source: str = ""
    sha256: str = ""
    bytes: int = 0
    changed_ns: int = 0
    orientation: str = ""
    orientation_by: str = ""
    voxel_um: str = ""
    scale_by: str = ""
    plane: str = ""
    atlas: str = ""
    done_to_it: str = ""
    section_sha256: str = ""

    def describe(self, brain: Settled) -> None:
        """Note how a brain lies and how large it is."""
        self.orientation, self.orientation_by = brain.orientation, brain.orientation_by
        sizes = dict.fromkeys(f"{um:.6g}" for um in brain.voxel_um or () if um)
        self.voxel_um, self.scale_by = " x ".join(sizes), brain.scale_by
        self.plane = "" if brain.plane is None else str(brain.plane)
        self.atlas = brain.space.name if brain.space else ""


@dataclass
class Manifest(BrainManifest):
    """The brains of a population that is gathered; its only memory."""

    outcome = Outcome

    def known_ids(self, sources: Sequence[Source]) -> dict[str, Source]:
        """Give each source the id under which it was noted before, or its own if it is new.

        Raises
        ------
        InputError
            If another brain was noted under the id of one.
        """
        noted = {source: brain for brain, source in self.table["source"].items()}
        ids: dict[str, Source] = {}
        for source in sources:
            brain = str(noted.get(place_of(source), source.id))
            before = self.table["source"].to_dict().get(brain, "")
            moved = before and not Path(before.partition("#")[0]).exists()
            if brain in ids or (before and before != place_of(source) and not moved):
                raise InputError(
                    f"{place_of(source)} and {before or place_of(ids[brain])} are both called "
                    f"{brain!r}: gather them in one call, or give one another name"
                )
            ids[brain] = source
        return ids


def place_of(source: Source) -> str:
    """Where a brain lies, in one line: path, and the section of a population."""
    place = str(source.path.absolute())
    return place if source.section is None else f"{place}#{source.section}"


class FileFacts:
    """What is known of the sources' files; each is looked at once, however many brains it holds."""

    def __init__(self) -> None:
        self._stamps: dict[Path, tuple[int, int]] = {}
        self._sums: dict[Path, str] = {}

    def size_and_time(self, path: Path) -> tuple[int, int]:
        """Bytes of a file or folder, and when it was last changed, ns."""
        if path not in self._stamps:
            stamp = file_stamp(all_files(path))
            size = sum(max(size, 0) for *_, size in stamp)
            self._stamps[path] = size, max((time for _, time, _ in stamp), default=0)
        return self._stamps[path]

    def checksum(self, path: Path) -> str:
        """SHA-256 of a file; of a folder, that of its files' sums as ``sha256sum`` lists them."""
        if path not in self._sums:
            self._sums[path] = sha256_of(path) if path.is_file() else _of_folder(path)
        return self._sums[path]


def _of_folder(folder: Path) -> str:
    sums = (f"{sha256_of(file)}  {file.relative_to(folder)}\n" for file in all_files(folder))
    return hashlib.sha256("".join(sums).encode()).hexdigest()
