"""What the panels of an encoder's training show, one a file."""
