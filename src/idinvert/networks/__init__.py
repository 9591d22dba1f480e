"""Network architectures in plain torch; nothing here reads a file."""
