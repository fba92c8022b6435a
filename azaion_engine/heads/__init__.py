"""Heads: the meaning of a detector's outputs, as rows. `results` has the boxes in pixels of the picture."""
