"""Units of length, by the names that files give them."""

from __future__ import annotations

UM = {
    1e-3: ("nm", "nanometer", "nanometre"),
    1.0: ("um", "µm", "μm", "\\u00b5m", "micron", "microns", "micrometer", "micrometre"),
    1e3: ("mm", "millimeter", "millimetre"),
    1e4: ("cm", "centimeter", "centimetre"),
    1e6: ("m", "meter", "metre"),
}


def to_um(unit: str) -> float | None:
    """Give the micrometres of a unit, or None if it is not known.

    Examples
    --------
    >>> to_um("mm"), to_um("micron"), to_um("pixel")
    (1000.0, 1.0, None)
    """
    name = unit.strip().strip('"').lower()
    return next((um for um, names in UM.items() if name in names), None)
