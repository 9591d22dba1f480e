"""Directions in latent space and what is done with them."""
