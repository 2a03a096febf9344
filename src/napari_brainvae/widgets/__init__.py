"""The napari part: the only folder that knows Qt and napari. It holds no computation."""
