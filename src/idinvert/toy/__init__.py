"""Procedural domains (faces, towers, bedrooms, churches) with exact labels and masks."""
