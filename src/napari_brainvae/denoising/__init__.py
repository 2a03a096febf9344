"""A section without what the model does not know: reconstruction, artifacts, outliers."""
