"""Gathering registered brains into a population: the engine of the command and of the panel."""
