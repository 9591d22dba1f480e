"""Metrics, each with a protocol identified by its name."""
