"""Image sources, splits and the data module."""
