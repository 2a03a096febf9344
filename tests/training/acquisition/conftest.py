"""A small Allen service, and the command that fetches from it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

pytest.importorskip("allensdk", reason="allensdk is not installed")

from tests.allen_server import AllenServer, fetch_small, record, serving


@pytest.fixture
def server() -> Iterator[AllenServer]:
    with serving(AllenServer([record(i) for i in (11, 12, 13, 14)])) as play:
        yield play


@pytest.fixture
def fetch(server: AllenServer, tmp_path: Path) -> Callable[..., Path]:
    """Fetch small volumes into mice.zarr, impatiently; returns its path."""

    def call(*arguments: str, plane: str = "7") -> Path:
        out = tmp_path / "mice.zarr"
        quick = ["--server", server.url, "--tries", "2", "--backoff", "0.01", "--timeout", "0.5"]
        fetch_small([str(out), "--plane", plane, *quick, *arguments])
        return out

    return call
