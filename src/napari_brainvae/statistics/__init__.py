"""Latent factors held against what is known of the brains."""
