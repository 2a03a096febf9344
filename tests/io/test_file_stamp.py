"""A stamp changes whenever a file may have changed."""

from __future__ import annotations

import os

from napari_brainvae.io.file_stamp import file_stamp


def test_a_stamp_is_of_the_files_as_they_are(tmp_path):
    first, second = tmp_path / "a", tmp_path / "b"
    first.write_text("one")
    stamps = [file_stamp([first, second])]
    assert file_stamp([first, second]) == stamps[0]
    changes = [
        lambda: second.write_text("there now"),
        lambda: first.write_text("longer"),
        lambda: os.utime(first, ns=(5, 5)),
        lambda: second.unlink(),
    ]
    for change in changes:
        change()
        stamps.append(file_stamp([first, second]))
    assert len({*stamps}) == len(stamps)
    assert file_stamp([second]) != file_stamp([first])
