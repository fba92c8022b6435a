"""What a detector's outputs mean: each head turns its outputs into rows.

Boxes in pixels of the picture are `results`.
"""
