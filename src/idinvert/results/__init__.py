"""Records, and the tables selected from them; does not import torch."""
