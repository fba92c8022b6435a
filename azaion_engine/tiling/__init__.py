"""Tiling: large pictures cut into tiles of the network's size, and the boxes of all tiles merged."""
