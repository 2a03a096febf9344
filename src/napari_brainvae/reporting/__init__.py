"""Figures, tables, maps and reports, the same for the widgets and for the commands."""
