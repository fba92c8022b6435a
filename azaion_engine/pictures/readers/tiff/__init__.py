"""TIFF at full depth: samples of every number, type and order of bytes."""
