"""What CONTRIBUTING says of the house is so."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]


def test_every_feature_lives_where_the_table_says():
    rows = re.findall(
        r"^\| [^|]+ \| `([^`]+\.py)` \|$", (ROOT / "CONTRIBUTING.md").read_text(), re.M
    )
    assert len(rows) > 30
    assert len(set(rows)) == len(rows), "one file a feature"
    homes = [ROOT if row.startswith("training/") else ROOT / "src/napari_brainvae" for row in rows]
    assert [row for row, home in zip(rows, homes, strict=True) if not (home / row).is_file()] == []
