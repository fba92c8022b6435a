"""Bounds on the time and the memory that an encoded picture can cost, set before a decoder sees it."""
