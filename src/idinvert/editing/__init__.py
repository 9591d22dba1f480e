"""Directions in latent space, and edits of codes, features and images."""
