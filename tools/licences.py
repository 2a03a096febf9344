"""``python tools/licences.py``: write docs/licences.md, the licences of all dependencies."""

from __future__ import annotations

import re
import tomllib
from importlib.metadata import metadata
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PAGE = ROOT / "docs" / "licences.md"

BESIDE = {"allensdk": "`brainvae acquire`"}
"""Installed without its own dependencies, so that no list of ours names it."""

WHEN = {"": "always", "qt": "windows, by `[qt]`", "allen": "`brainvae acquire`, by `[allen]`"}
"""What each group of requirements is for; tools for tests and style reach nobody's machine."""

TEXT = """# Licences

napari-brainvae is under the BSD 3-Clause licence. What it asks pip to install, and under which
licence each says it is (made by `python tools/licences.py` from what the packages say):

{table}

Three of them ask for a look:

- **PyQt6** (GPL 3) is only one of the windows that napari can use: PySide6 (LGPL 3) does the same,
  and `pip install napari-brainvae` alone installs neither.
- **pytorch-wavelets** is MIT, but its dual-tree transform derives from N. Kingsbury's toolbox,
  which has a licence of its own. It serves one of the two transforms of CW-SSIM, nothing else.
- **allensdk** is under the Allen Institute's software licence, which forbids redistribution for
  commercial purposes; the data have [terms](https://alleninstitute.org/terms-of-use) of their own.
"""


def direct() -> dict[str, str]:
    """Name every direct dependency of the package, and when it is installed."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    groups = {"": project["dependencies"], **project["optional-dependencies"]}
    listed = {
        re.match(r"[\w.-]+", requirement)[0]: when  # type: ignore[index]
        for group, when in WHEN.items()
        for requirement in groups[group]
    }
    return listed | BESIDE


def licence(name: str) -> str:
    """Say under which licence an installed package is: its expression, words or class."""
    about = metadata(name)
    if expression := about.get("License-Expression"):
        return expression
    classes = [c for c in about.get_all("Classifier") or [] if c.startswith("License :: ")]
    stated = (about.get("License") or "").strip()
    if stated and len(stated) < 40:
        return stated
    return classes[0].rpartition(" :: ")[2] if classes else "not stated"


def row(name: str, when: str) -> str:
    """One line of the table."""
    return f"| {name} | {when} | {licence(name)} |"


def main() -> None:
    """Write the page."""
    rows = [row(*each) for each in sorted(direct().items(), key=lambda each: each[0].lower())]
    table = "\n".join(["| package | installed for | licence |", "|---|---|---|", *rows])
    PAGE.write_text(TEXT.format(table=table), encoding="utf-8")


if __name__ == "__main__":
    main()
