"""Rendered aerial scenes with known boxes. Learning from them is `demo.training`."""
