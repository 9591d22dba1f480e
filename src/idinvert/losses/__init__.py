"""Eq. (2) and Eq. (3) of the paper, and the terms of all objectives."""
