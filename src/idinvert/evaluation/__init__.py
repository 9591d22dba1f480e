"""Tasks that turn a run into records."""
