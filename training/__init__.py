"""Headless commands: ``python -m training.<command> --help``."""
