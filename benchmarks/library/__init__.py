"""Measurements of the library in one process."""
