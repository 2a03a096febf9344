"""A population of brains whose differences are known, drawn from nothing or from a template."""
