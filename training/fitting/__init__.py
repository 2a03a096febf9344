"""What `training.fit` is made of."""
