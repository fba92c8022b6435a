"""Readers of the pictures that Pillow's plug-ins of the usual formats do not decode, or not at their full depth."""
