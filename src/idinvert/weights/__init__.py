"""Weights in and out: the release format, the registry, the shipped assets."""
