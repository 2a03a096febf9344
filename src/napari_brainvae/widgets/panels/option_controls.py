"""Controls of a panel from the fields of a pydantic model: the schema says it all once."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal, cast, get_args, get_origin

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
    left_to
        What an optional number says that is left open: "auto".
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
        left_to: str = "auto",
    ) -> None:
        super().__init__()
        fields = schema.model_fields
        self.widgets: dict[str, Any] = {
            name: _control(name, fields[name], left_to) for name in names
        }
        found = {name: _number(fields[name]) for name in names}
        self._optional = {
            name: cast("type[int | float]", number.annotation)
            for name, (number, is_open) in found.items()
            if is_open
        }
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
        values = {name: widget.value for name, widget in self.widgets.items()}
        kind: Any
        for name, kind in self._optional.items():
            smallest = self.widgets[name].min
            values[name] = None if values[name] == smallest else kind(values[name])
        return values

    def set_values(self, values: Mapping[str, Any]) -> None:
        """Show values, those of fields that have no control left out."""
        for name, widget in self.widgets.items():
            if name in values:
                left = name in self._optional and values[name] is None
                widget.value = widget.min if left else values[name]


def _number(field: FieldInfo) -> tuple[FieldInfo, bool]:
    """A field's number with its bounds, and whether it may be left open."""
    parts = get_args(field.annotation)
    if type(None) not in parts or len(parts) > 2:
        return field, False
    within = FieldInfo.from_annotation(next(part for part in parts if part is not type(None)))
    if within.annotation not in (int, float):
        return field, False
    within.metadata += field.metadata
    return within, True


def _control(name: str, field: FieldInfo, left_to: str) -> ValueWidget[Any]:
    number, optional = _number(field)
    kind = number.annotation
    options: dict[str, Any] = {"tooltip": f"<p>{field.description}</p>"}
    if get_origin(kind) is Literal:
        options |= {"choices": get_args(kind), "widget_type": "ComboBox"}
        kind = str
    elif kind in (int, float):
        low, high = bounds(number, 0)
        step = 1 if kind is int else 0.01 if high - low <= 1 else 0.1
        low, high = bounds(number, step)
        options |= {"min": low - step if optional else low, "max": high, "step": step}
        if optional:  # the box of whole numbers has no word for the smallest one
            kind = float
    label = name.replace("_", " ").capitalize()
    value = options["min"] if optional else field.get_default()
    made = create_widget(value=value, annotation=kind, name=name, label=label, options=options)
    widget = cast(ValueWidget[Any], made)
    if isinstance(widget, CheckBox):
        widget.text = ""  # the label says it already
    if optional:  # one step below the smallest number
        widget.native.setDecimals(0 if number.annotation is int else 1)
        widget.native.setSpecialValueText(left_to)
    return widget


def bounds(field: FieldInfo, step: float) -> tuple[float, float]:
    """Smallest and largest value that the schema allows; open ends are ``step`` further in."""
    low, high = -float(MOST), float(MOST)
    for rule in field.metadata:
        low = getattr(rule, "ge", getattr(rule, "gt", low - step) + step)
        high = getattr(rule, "le", getattr(rule, "lt", high + step) - step)
    return low, high
