"""Boxes in pixels of the picture, and drawing them. Nothing here runs a model."""
