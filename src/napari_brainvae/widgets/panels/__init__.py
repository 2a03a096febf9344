"""Parts that widgets are made of."""
