"""Every container that checkpoints come in, read as plain data; no file runs anything."""
