"""What ``training.interpret`` can be told, and what it finds by that."""
