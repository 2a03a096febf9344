"""Controls from a schema."""

from __future__ import annotations

from pydantic import BaseModel, Field

from napari_brainvae.widgets.panels.option_controls import bounds


def test_bounds_come_from_the_schema():
    class Schema(BaseModel):
        closed: float = Field(1, ge=0, le=2)
        opened: float = Field(1, gt=0, lt=2)
        free: int = 3

    ends = {name: bounds(field, 0.5) for name, field in Schema.model_fields.items()}
    assert ends == {"closed": (0, 2), "opened": (0.5, 1.5), "free": (-1e6, 1e6)}
