"""What latent factors mean, read in both directions."""
