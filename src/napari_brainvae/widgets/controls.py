"""Controls of a panel from the fields of a pydantic model: the schema says it all once."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Literal, get_args, get_origin

from magicgui.widgets import Container, create_widget
from magicgui.widgets.bases import ValueWidget
from pydantic import BaseModel
from pydantic.fields import FieldInfo

MOST = 1_000_000
"""Upper end of a number's box where the schema sets none."""


def controls(schema: type[BaseModel], names: Iterable[str]) -> Container[Any]:
    """Build a labelled control for each named field: default, bounds and tooltip are the schema's.

    The values are read with ``schema(**container.asdict())``.
    """
    return Container(
        widgets=[_control(name, schema.model_fields[name]) for name in names],
        labels=True,
    )


def label(name: str) -> str:
    """What a field is called on screen: ``soft_edge`` becomes ``Soft edge``."""
    return name.replace("_", " ").capitalize()


def _control(name: str, field: FieldInfo) -> ValueWidget[Any]:
    kind = field.annotation
    options: dict[str, Any] = {"tooltip": f"<p>{field.description}</p>"}
    if get_origin(kind) is Literal:
        options |= {"choices": get_args(kind), "widget_type": "ComboBox"}
        kind = str
    elif kind in (int, float):
        step = 1 if kind is int else 0.1
        low, high = bounds(field, step)
        options |= {"min": low, "max": high, "step": step}
    widget = create_widget(
        value=field.get_default(), annotation=kind, name=name, label=label(name), options=options
    )
    assert isinstance(widget, ValueWidget)
    return widget


def bounds(field: FieldInfo, step: float = 0.0) -> tuple[float, float]:
    """Smallest and largest value that the schema allows; open ends are ``step`` further in."""
    low, high = -float(MOST), float(MOST)
    for rule in field.metadata:
        low = getattr(rule, "ge", getattr(rule, "gt", low - step) + step)
        high = getattr(rule, "le", getattr(rule, "lt", high + step) - step)
    return low, high
