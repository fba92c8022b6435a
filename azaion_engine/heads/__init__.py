"""Heads: the meaning of a detector's outputs, one file a family, as rows. `results` has the boxes of the picture."""
