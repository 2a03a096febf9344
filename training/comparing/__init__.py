"""What ``training.compare`` can be told."""
