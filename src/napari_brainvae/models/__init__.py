"""What describes a brain by a few latent factors: one face, VAE and PCA, in one file each."""
