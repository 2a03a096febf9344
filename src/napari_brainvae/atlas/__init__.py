"""The anatomy: structures, an annotated volume, one plane of it on a population, regions."""
