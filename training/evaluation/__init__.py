"""What `training.evaluate` and `training.sweep` are made of."""
