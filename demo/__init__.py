"""The demonstration detector: rendered aerial scenes, training and export."""
