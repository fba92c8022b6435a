"""Documentation: its pages, and `docs.generator`, which writes those that come from the code."""
