"""Scenes: rendered aerial pictures with known boxes. `demo.training` trains on them."""
