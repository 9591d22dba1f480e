"""Metrics with their protocols pinned by name."""
