"""``python tools/ship_demo_model.py``: make the small model that ships with the plugin."""

from __future__ import annotations

import logging
from pathlib import Path

from pydantic import BaseModel, Field
from pydantic_settings import CliPositionalArg

from training.cli import main

log = logging.getLogger(__name__)


class DemoModelOptions(BaseModel):
    """Take the model of a finished demo, in half precision, into the plugin."""

    demo: CliPositionalArg[Path] = Field(Path("demo"), description="Folder of training.demo.")


def ship(options: DemoModelOptions) -> None:
    """Copy the demo's checkpoint with half-precision tensors to where the plugin looks for it."""
    import numpy as np

    from napari_brainvae.io.atomic_files import replacing
    from napari_brainvae.models.base import ROTATION
    from napari_brainvae.models.checkpoint import DEMO_MODEL, load_checkpoint, write_tensors

    model = load_checkpoint(options.demo / "run" / "model.safetensors")
    half = {
        # A rotation would no longer be orthogonal.
        name: tensor if name == ROTATION else tensor.astype(np.float16)
        for name, tensor in model.tensors().items()
    }
    # Of whose disk it was fitted on nothing is to be shipped.
    said = model.header.training["options"]
    said["population"] = Path(said["population"]).name
    with replacing(DEMO_MODEL) as beside:
        write_tensors(beside, half, model.header)
    log.info("%s: %.1f MB", DEMO_MODEL, DEMO_MODEL.stat().st_size / 1e6)


if __name__ == "__main__":
    main(DemoModelOptions, ship, program="python tools/ship_demo_model.py")
