"""Benchmarks: scripts that measure the library and the service; README.md has the results."""
