"""What an acquisition notes as fetched is on disk: after a power cut nothing noted is lost."""

from __future__ import annotations

from tests.disk import can_be_watched, check, watching

pytestmark = can_be_watched


def test_what_an_acquisition_leaves_is_on_disk(fetch, tmp_path):
    with watching(tmp_path) as watch:
        fetch("--keep-volumes", "--limit", "2")
    assert {"mice.zarr", "manifest.csv", "request.json", "11.npy"} <= set(watch.renamed)
    check(watch, tmp_path)


def test_sections_are_on_disk_before_they_are_noted(fetch, tmp_path):
    with watching(tmp_path) as watch:
        fetch("--connections", "1")
    noted = [k for k, name in enumerate(watch.renamed) if name == "manifest.csv"]
    assert len(noted) == 5, "one beginning, then a note after each brain"
    for k, experiment in enumerate((11, 12, 13, 14), start=1):
        assert watch.renamed.index(f"{experiment}.npy") < noted[k]
