"""Records and the tables selected from them; imports no torch."""
