"""Versions of one model: opened beside the serving one, checked, and switched to inside each replica."""
