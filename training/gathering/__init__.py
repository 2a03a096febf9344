"""What `training.gather` is made of."""
