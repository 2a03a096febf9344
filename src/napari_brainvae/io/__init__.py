"""Files, progress and errors: what everything else stands on."""
