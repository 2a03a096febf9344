from __future__ import annotations

import re

import pytest

from napari_brainvae.io.errors import InputError
from training.cli import main
from training.demo import DemoOptions, demo

SMALL = {"count": 40, "height": 64, "width": 80, "steps": 2}


def test_the_whole_tour_in_small(tmp_path, caplog):
    """Population, fit, evaluation, report; what is finished is not done again."""
    caplog.set_level("INFO")
    options = DemoOptions(out=tmp_path / "demo", **SMALL)
    demo(options)
    report = options.out / "report.html"
    page = report.read_text()
    headings = re.findall("<h2>(.*?)</h2>", page)
    first = ["About", "All factors", *(f"F{i + 1}" for i in range(8))]
    assert [heading.partition(":")[0] for heading in headings[:10]] == first
    assert "40 phantom brains" in page
    assert (options.out / "factors" / "factors.csv").exists()
    for heading in ("Denoising", "The paper", "PCA-Frechet distance", "MIG", "Training", "Next"):
        assert f"<h2>{heading}" in page
    assert not re.search(r"(src|href)=.(?!data:)", page)
    first = caplog.text
    assert "8 held-out brains" in first
    model = options.out / "run" / "model.safetensors"
    written = model.stat().st_mtime_ns
    report.write_text("her notes")
    caplog.clear()
    demo(options)
    assert model.stat().st_mtime_ns == written
    assert report.read_text() == "her notes", "what she wrote into the report stays"
    assert "report.html is there already" in caplog.text
    assert "1 of 4" in first
    assert "1 of 4" not in caplog.text
    assert "2 of 4" not in caplog.text
    with pytest.raises(InputError, match="other options"):
        demo(options.model_copy(update={"seed": 2}))


def test_a_folder_that_holds_no_demo_is_left_alone(tmp_path):
    (tmp_path / "notes").touch()
    with pytest.raises(FileExistsError, match="holds no demo"):
        demo(DemoOptions(out=tmp_path, **SMALL))


def test_the_smallest_demo_that_is_allowed_works(tmp_path):
    least = DemoOptions.model_fields["count"].metadata[0].ge
    demo(DemoOptions(out=tmp_path / "demo", **SMALL | {"count": least}))
    assert (tmp_path / "demo" / "report.html").exists()


def test_a_tilde_is_the_home_folder(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    seen = []
    main(DemoOptions, seen.append, program="demo", arguments=["~/demo"])
    assert seen[0].out == tmp_path / "demo"
