"""Compose the config, wire the parts, nothing else."""
