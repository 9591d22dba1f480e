"""Network architectures in plain torch; no module here reads files."""
