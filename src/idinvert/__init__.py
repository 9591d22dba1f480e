"""In-domain GAN inversion: train a domain-guided encoder, invert images, edit them, measure it."""

__version__ = "0.1.0"
