"""What `training.acquire` is made of; only `allen` imports allensdk."""
