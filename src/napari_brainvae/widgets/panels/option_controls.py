"""Controls of a panel from the fields of a pydantic model: the schema says it all once."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal, get_args, get_origin

from magicgui.widgets import CheckBox, create_widget
from magicgui.widgets.bases import ValueWidget
from pydantic import BaseModel
from pydantic.fields import FieldInfo
from qtpy.QtCore import Signal
from qtpy.QtWidgets import QGridLayout, QLabel, QWidget

MOST = 1_000_000
"""Upper end of a number's box where the schema sets none."""


class Controls(QWidget):
    """A labelled control for each named field; default, bounds and tooltip are the schema's.

    Parameters
    ----------
    schema, names
        Which fields of which model, in this order.
    columns
        How many controls stand side by side.
    above
        Other widgets, by label, in rows above.

    Signals
    -------
    changed
        A value was changed.
    """

    changed = Signal()

    def __init__(
        self,
        schema: type[BaseModel],
        names: Sequence[str],
        columns: int = 1,
        above: Mapping[str, QWidget] | None = None,
    ) -> None:
        super().__init__()
        self.widgets = {name: _control(name, schema.model_fields[name]) for name in names}
        layout = QGridLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        rows = list((above or {}).items())
        for row, (text, other) in enumerate(rows):
            layout.addWidget(QLabel(text), row, 0)
            layout.addWidget(other, row, 1)
        for i, widget in enumerate(self.widgets.values(), start=len(rows) * columns):
            row, column = divmod(i, columns)
            label = QLabel(widget.label, toolTip=widget.tooltip)
            layout.addWidget(label, row, 2 * column)
            layout.addWidget(widget.native, row, 2 * column + 1)
            layout.setColumnStretch(2 * column + 1, 1)
            widget.changed.connect(lambda _: self.changed.emit())

    def values(self) -> dict[str, Any]:
        """Give the values by field, to be validated by the schema."""
        return {name: widget.value for name, widget in self.widgets.items()}


def _control(name: str, field: FieldInfo) -> ValueWidget[Any]:
    kind = field.annotation
    options: dict[str, Any] = {"tooltip": f"<p>{field.description}</p>"}
    if get_origin(kind) is Literal:
        options |= {"choices": get_args(kind), "widget_type": "ComboBox"}
        kind = str
    elif kind in (int, float):
        low, high = bounds(field, 0)
        step = 1 if kind is int else 0.01 if high - low <= 1 else 0.1
        low, high = bounds(field, step)
        options |= {"min": low, "max": high, "step": step}
    label = name.replace("_", " ").capitalize()
    widget = create_widget(
        value=field.get_default(), annotation=kind, name=name, label=label, options=options
    )
    assert isinstance(widget, ValueWidget)
    if isinstance(widget, CheckBox):
        widget.text = ""  # the label says it already
    return widget


def bounds(field: FieldInfo, step: float) -> tuple[float, float]:
    """Smallest and largest value that the schema allows; open ends are ``step`` further in."""
    low, high = -float(MOST), float(MOST)
    for rule in field.metadata:
        low = getattr(rule, "ge", getattr(rule, "gt", low - step) + step)
        high = getattr(rule, "le", getattr(rule, "lt", high + step) - step)
    return low, high
