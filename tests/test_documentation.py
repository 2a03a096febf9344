"""What README, guides and CONTRIBUTING promise is there."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from training.__main__ import commands

ROOT = Path(__file__).resolve().parents[1]
HOME = "https://github.com/napari-brainvae/napari-brainvae/blob/main/"
PICTURES = "https://raw.githubusercontent.com/napari-brainvae/napari-brainvae/main/"
GUIDES = [
    "README.md",
    "CONTRIBUTING.md",
    "docs/acquire.md",
    "docs/atlases.md",
    "docs/compare.md",
    "docs/covariates.md",
    "docs/displacing.md",
    "docs/evidence.md",
    "docs/gather.md",
    "docs/sweep.md",
]


def links(text: str) -> set[str]:
    return {*re.findall(r"\]\(([^)]+)\)", text), *re.findall(r"^\[[^\]]+\]: (\S+)", text, re.M)}


def test_the_links_of_the_readme_work_from_anywhere_and_their_files_are_there():
    found = links((ROOT / "README.md").read_text())
    assert all(link.startswith("https://") for link in found)
    ours = [link.removeprefix(root) for root in (HOME, PICTURES) for link in found if root in link]
    assert len(ours) > 8
    assert [path for path in ours if not (ROOT / path).is_file()] == []


def test_pictures_are_taken_without_touching_the_view():
    """A view that is fitted for the picture alone would hide that the window crops its brains."""
    script = (ROOT / "docs" / "screenshots.py").read_text()
    assert not re.findall(r"reset_view|camera|zoom|fit_to_view", script)


def test_every_reference_of_the_readme_is_defined_and_used():
    text = (ROOT / "README.md").read_text()
    used = set(re.findall(r"\]\[([^\]]+)\]", text))
    assert used == set(re.findall(r"^\[([^\]]+)\]: ", text, re.M))


def test_the_index_of_the_documents_names_every_page_and_every_link_between_pages_leads_somewhere():
    pages = sorted((ROOT / "docs").rglob("*.md"))
    index = links((ROOT / "docs/README.md").read_text())
    assert {str(page.relative_to(ROOT / "docs")) for page in pages} - {"README.md"} <= index
    lost = [
        (page.name, link)
        for page in pages
        for link in links(page.read_text())
        if not link.startswith("http") and not (page.parent / link.partition("#")[0]).exists()
    ]
    assert lost == []


@pytest.mark.parametrize("guide", GUIDES)
def test_commands_exist_and_need_nothing_that_a_stranger_does_not_have(guide):
    text = (ROOT / guide).read_text()
    named = set(re.findall(r"(?:^|`|    )brainvae ([a-z]\w*)", text, re.M))
    assert named <= set(dict(commands()))
    assert "shared/" not in text


def test_the_version_is_in_one_place():
    [version] = re.findall(r'^version = "(.+)"', (ROOT / "pyproject.toml").read_text(), re.M)
    others = [
        *(ROOT / "src").rglob("*.py"),
        *(ROOT / "training").rglob("*.py"),
        ROOT / "CITATION.cff",
    ]
    assert [path.name for path in others if version in path.read_text()] == []
