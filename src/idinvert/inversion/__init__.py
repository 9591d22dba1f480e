"""Inverters behind one protocol, and the one optimisation loop."""
