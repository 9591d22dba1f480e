"""Readers of all checkpoint containers, as plain data; no code in a file is run."""
