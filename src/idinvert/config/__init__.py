"""Schema, validation and run identity."""
