"""Inversion methods, which share one protocol and one optimisation loop."""
