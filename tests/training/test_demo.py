from __future__ import annotations

import re

from training.demo import DemoOptions, demo


def test_the_whole_tour_in_small(tmp_path, capsys):
    """Population, fit, evaluation, report; what is finished is not done again."""
    options = DemoOptions(out=tmp_path / "demo", count=40, height=64, width=80, steps=2)
    demo(options)
    page = (options.out / "report.html").read_text()
    for heading in ("Denoising", "The paper", "PCA-Frechet distance", "MIG", "Training", "Next"):
        assert f"<h2>{heading}" in page
    assert not re.search(r"(src|href)=.(?!data:)", page)
    first = capsys.readouterr().out
    assert "8 held-out brains" in first
    model = options.out / "run" / "model.safetensors"
    written = model.stat().st_mtime_ns
    demo(options)
    assert model.stat().st_mtime_ns == written
    again = capsys.readouterr().out
    assert "1 of 4" in first
    assert "1 of 4" not in again
    assert "2 of 4" not in again
